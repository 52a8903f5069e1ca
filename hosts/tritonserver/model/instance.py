"""The model that the server's Python backend runs: one instance, one open bundle."""

import json
import traceback
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from pcsr.errors import BundleError, PcsrError
from pcsr.runtime.process.cancellation import Cancellation
from pcsr.runtime.upscaler import Upscaler
from pcsr.text import one_line

from .backlog import Answering, Backlog
from .calls import Call, read_call
from .device_tensors import as_output
from .monitoring import Monitor
from .passage import Passage
from .refusals import refusal
from .server_log import log_to
from .service import Answer, Service
from .settings import Settings
from .times import Times

BUNDLES = ("bundle", "bundle.onnx")
"""What the bundle beside the model's file is called: a folder, or one file."""
MIB = 2**20


class Model:
    """Serves one bundle. `execute` hands each request to a thread and returns: decoding, computing
    and encoding of several overlap, and each is answered when it is done.

    A class of the name that the server expects has the server's module as `utils`; that is what
    `pcsr-serve repository` writes.
    """

    utils: ClassVar[Any]
    """`triton_python_backend_utils`, which only the server has."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Opens the bundle, and computes the warm-ups.

        Raises:
            TritonModelException: it cannot be opened; one line says why.
        """
        try:
            self._open(args)
        except PcsrError as error:
            line = one_line(f"cannot serve {args['model_name']}: {error}")
        else:
            return
        raise self.utils.TritonModelException(line)

    def execute(self, requests: Sequence[Any]) -> None:
        """Takes requests over; they are answered later."""
        for request in requests:
            times, sender = Times(), request.get_response_sender()
            try:
                call = read_call(request, self._settings)
                cancellation = Cancellation(call.timeout_s, sender.is_cancelled)
                work = partial(self._answer, sender, call, times, cancellation)
                self._backlog.submit(call.bytes, work)
            except Exception as error:
                self._refuse(sender, error)

    def finalize(self) -> None:
        """Answers what is there, and closes the bundle."""
        self._backlog.close()
        self._upscaler.close()
        self._monitor.close()

    def _open(self, args: Mapping[str, str]) -> None:
        log_to(self.utils.Logger)
        config = json.loads(args["model_config"])
        texts = {key: it["string_value"] for key, it in config.get("parameters", {}).items()}
        self._settings = settings = Settings.read(texts)
        on_gpu = args["model_instance_kind"] == "GPU"
        device = f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu"
        bundle = _bundle(Path(args["model_repository"]) / args["model_version"])
        self._upscaler = Upscaler(bundle, device, **settings.opening)
        self._hidden = (str(bundle), str(bundle.absolute()))
        for size in settings.warm_up:
            self._upscaler.warmup(size)
        computing = settings.compute_concurrency or (2 if on_gpu else 1)
        self._service = Service(self._upscaler, settings, computing)
        labels = {"model": args["model_name"], "version": args["model_version"], "device": device}
        self._monitor = Monitor(self.utils, labels)
        self._passage = Passage.of_server()
        limits = (settings.max_pending, settings.max_pending_mib * MIB)
        self._backlog = Backlog(settings.concurrency, *limits, self._monitor.pending)

    def _answer(
        self,
        sender: Any,  # noqa: ANN401
        call: Call,
        times: Times,
        cancellation: Cancellation,
    ) -> Answering:
        """Computes a call, and gives what answers it."""
        try:
            times.begin()
            answer = self._service.answer(call, times, cancellation)
            outputs = answer.outputs.items()
            tensors = [as_output(self.utils, name, array) for name, array in outputs]
        except Exception as error:
            return partial(self._refuse, sender, error)
        return partial(self._reply, sender, answer, tensors)

    def _reply(self, sender: Any, answer: Answer, tensors: Sequence[Any]) -> None:  # noqa: ANN401
        try:
            with self._passage.taken(list(answer.outputs.values())):
                self._send(sender, output_tensors=tensors)
        except Exception as error:
            self._refuse(sender, error)
            return
        self._monitor.answered(answer)
        self._monitor.ended("ok")

    def _refuse(self, sender: Any, error: Exception) -> None:  # noqa: ANN401
        found = refusal(error, self._hidden)
        if found.outcome == "failed":
            trace = "".join(traceback.format_exception(error))
            self.utils.Logger.log_error(f"pcsr: a request failed\n{trace}")
        code = getattr(self.utils.TritonError, found.code)
        try:
            self._send(sender, output_tensors=[], error=self.utils.TritonError(found.text, code))
        except Exception as broken:
            self.utils.Logger.log_error(f"pcsr: cannot answer a request: {broken}")
        self._monitor.ended(found.outcome)

    def _send(self, sender: Any, **response: Any) -> None:  # noqa: ANN401
        flags = self.utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
        sender.send(self.utils.InferenceResponse(**response), flags=flags)


def _bundle(folder: Path) -> Path:
    found = [folder / name for name in BUNDLES if (folder / name).exists()]
    if not found:
        raise BundleError(
            f"there is no bundle in {folder}; write the model again with pcsr-serve repository"
        )
    return found[0]
