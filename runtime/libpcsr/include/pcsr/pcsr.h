/* libpcsr: upscales images with a bundle that pcsr-export wrote, on the CPU, without Python.

   C99 and C++. Every structure begins with its own size, which the caller sets; all else may be
   zero, which chooses what is said beside it. Every call that can fail returns a status. A handle
   may be used from several threads at once; it must outlive their calls. The library writes
   nothing to standard output or standard error. It sets ORT_DISABLE_TELEMETRY=1 in the environment
   when the first bundle is opened, unless that is set to something already. docs/embedding.md has complete programs. */
#ifndef PCSR_H
#define PCSR_H

#include <stddef.h>
#include <stdint.h>

#define PCSR_VERSION_MAJOR 0
#define PCSR_VERSION_MINOR 1
#define PCSR_VERSION_PATCH 0
#define PCSR_MOST_UPSAMPLERS 255

#if defined(PCSR_BUILD) && defined(__GNUC__)
#define PCSR_API __attribute__((visibility("default")))
#else
#define PCSR_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* What a call returns. */
typedef int32_t pcsr_status;
enum {
    PCSR_OK = 0,
    PCSR_ERROR_ARGUMENT = 1,  /* an argument or an option out of its range */
    PCSR_ERROR_BUNDLE = 2,    /* no bundle, a damaged one, or one of another format */
    PCSR_ERROR_BACKEND = 3,   /* ONNX Runtime is not there, too old, or refuses to start */
    PCSR_ERROR_IMAGE = 4,     /* pixels that are no image, or that the network cannot take */
    PCSR_ERROR_MEMORY = 5,    /* out of memory, or of threads */
    PCSR_ERROR_CANCELLED = 6, /* pcsr_cancel was called, or on_rows asked for it */
    PCSR_ERROR_INTERNAL = 7   /* a fault of the library itself */
};

/* The version of the library, as "0.1.0". */
PCSR_API const char *pcsr_version(void);

/* What a status means, in a few words. Never NULL. */
PCSR_API const char *pcsr_status_text(pcsr_status status);

/* An open bundle. */
typedef struct pcsr_upscaler pcsr_upscaler;

/* One line on the last call of this thread with this handle that failed: what was expected, what
   was found, what to do. NULL as the handle: of the last call of this thread that failed at all,
   pcsr_open among them. Never NULL; "" where none failed. It stays valid until the next call of
   this thread. */
PCSR_API const char *pcsr_message(const pcsr_upscaler *upscaler);

/* Runs task(argument, index) for every index from 0 to count - 1, each once, on any threads, and
   returns when all have returned. Several of these may be in progress at once. */
typedef void (*pcsr_task)(void *argument, size_t index);
typedef void (*pcsr_parallel_for)(void *context, size_t count, pcsr_task task, void *argument);

typedef struct pcsr_open_options {
    size_t struct_size;      /* sizeof(pcsr_open_options) */
    const char *precision;   /* NULL or "fp32"; "int8": what pcsr-calibrate precision has made */
    const char *onnxruntime; /* path of ONNX Runtime's library; NULL: $PCSR_ONNXRUNTIME, else the
                                one in this process, else libonnxruntime.so.1 of the loader */
    int32_t threads;         /* 1 to 256; 0: the cores that this process may use */
    int32_t tile_px;         /* side of the backbone's tiles without their halo, 16 or more; 0: by
                                memory. The result does not depend on it */
    uint64_t memory_bytes;   /* of tiles and of what is kept between two passes, about, for one
                                image at a time; 0: 900 MiB, or half of what is free */
    pcsr_parallel_for parallel_for; /* runs what follows the backbone; NULL: threads of the
                                       handle's own. ONNX Runtime has its own in any case */
    void *parallel_context;
} pcsr_open_options;

/* Opens the bundle in a directory. options may be NULL. *upscaler is NULL where it fails. */
PCSR_API pcsr_status pcsr_open(const char *directory, const pcsr_open_options *options,
                               pcsr_upscaler **upscaler);

/* Closes it, when no call with it is in progress. NULL does nothing. */
PCSR_API void pcsr_close(pcsr_upscaler *upscaler);

typedef struct pcsr_info {
    size_t struct_size; /* sizeof(pcsr_info), set by the caller; the library fills in the rest */
    double scale;       /* that the network was trained for */
    int32_t upsamplers; /* 0: a plain network, which upscales by `scale` only */
    int32_t receptive_radius_px; /* how far the backbone looks around; -1: everywhere */
    int32_t refine;     /* 1: images are refined where a call does not say */
    int32_t threads;
    const char *precision;    /* these three stay valid until the handle is closed */
    const char *instructions; /* of the compiled passes: "avx512", "avx2", "generic", "neon" */
    const char *onnxruntime;  /* version of ONNX Runtime */
} pcsr_info;

PCSR_API pcsr_status pcsr_get_info(const pcsr_upscaler *upscaler, pcsr_info *info);

/* The size of the result of an image: round(side * scale), ties to even. scale 0: the trained
   one. */
PCSR_API pcsr_status pcsr_output_size(const pcsr_upscaler *upscaler, int32_t width, int32_t height,
                                      double scale, int32_t *out_width, int32_t *out_height);

/* The type of a value: 0 .. 255, 0 .. 65535, or nominally 0 .. 1. Values of float images may lie
   from -1 to 2; those of results are not clipped. */
enum { PCSR_U8 = 0, PCSR_U16 = 1, PCSR_F32 = 2 };
enum { PCSR_RGB = 0, PCSR_BGR = 1 };              /* alpha is the last channel in both */
enum { PCSR_INTERLEAVED = 0, PCSR_PLANAR = 1 };

/* Pixels in the caller's memory. */
typedef struct pcsr_image {
    size_t struct_size;   /* sizeof(pcsr_image) */
    void *data;           /* first value of the top row; of an input it is only read */
    int32_t width, height;
    int32_t channels;     /* 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha */
    int32_t format;       /* PCSR_U8, PCSR_U16, PCSR_F32, aligned to its size */
    int32_t order;        /* PCSR_RGB, PCSR_BGR */
    int32_t layout;       /* PCSR_INTERLEAVED, PCSR_PLANAR */
    int64_t row_stride;   /* bytes from a row to the next one below, negative where that lies
                             before it; 0: rows without gaps */
    int64_t plane_stride; /* of PCSR_PLANAR: bytes from a channel to the next; 0: height rows */
} pcsr_image;

/* How pixels get their upsamplers (paper sections 3.2 and 3.3). */
enum {
    PCSR_ROUTE_K = 0,          /* by k */
    PCSR_ROUTE_ADAPTIVE = 1,   /* by the image's own spread of difficulties (ADM) */
    PCSR_ROUTE_HEAVY_RATIO = 2 /* heavy_ratio of them, the most difficult ones, are heavy */
};
enum { PCSR_REFINE_AS_EXPORTED = 0, PCSR_REFINE_ON = 1, PCSR_REFINE_OFF = 2 };

/* Takes finished rows, from top to bottom: `rows` has the channels, format, order and layout of
   the output, or of the input where there is none, its own height and strides, and `first` is its
   first output row. It is valid during the call only. All calls come from the thread that called
   pcsr_run. Any other result than 0 cancels the run. */
typedef int32_t (*pcsr_on_rows)(void *context, int32_t first, const pcsr_image *rows);

/* Cancels runs: one may be given to any number of them. */
typedef struct pcsr_cancellation pcsr_cancellation;
PCSR_API pcsr_status pcsr_cancellation_create(pcsr_cancellation **cancellation);
/* Runs with it end soon, with PCSR_ERROR_CANCELLED, and later ones at once. From any thread. */
PCSR_API void pcsr_cancel(pcsr_cancellation *cancellation);
/* When no run with it is in progress. NULL does nothing. */
PCSR_API void pcsr_cancellation_destroy(pcsr_cancellation *cancellation);

typedef struct pcsr_run_options {
    size_t struct_size;  /* sizeof(pcsr_run_options) */
    double scale;        /* 1 to 1000; 0: the trained one */
    int32_t routing;     /* PCSR_ROUTE_... */
    int32_t refine;      /* PCSR_REFINE_... */
    double k;            /* within 1e6 of 0: how much an upsampler's cost counts against its
                            probability; 0 trusts the classifier, larger is lighter */
    double heavy_ratio;  /* 0 to 1 */
    float *difficulty;   /* NULL, or [output height][output width] for the probability of each
                            pixel that it is a heavy one */
    uint8_t *assignment; /* NULL, or likewise for its upsampler, 0 the heaviest */
    pcsr_on_rows on_rows; /* NULL, or takes rows as they are finished. Images with alpha have
                             none */
    void *on_rows_context;
    pcsr_cancellation *cancellation; /* NULL, or what cancels this run */
} pcsr_run_options;

/* What a run did. Times are milliseconds of wall-clock time and sum up to total_ms. */
typedef struct pcsr_statistics {
    size_t struct_size; /* sizeof(pcsr_statistics), set by the caller */
    int32_t width, height; /* of the result */
    int32_t upsamplers;
    double threshold;   /* the difficulty from which on pixels are heavy; NaN where none decides,
                           infinite where ADM finds a flat image */
    double total_ms;
    double prepare_ms;
    double backbone_ms; /* or the plain network */
    double classifier_ms;
    double routing_ms;
    double compose_ms;  /* bases, without the upsamplers */
    double refinement_ms; /* and conversion to the output's format */
    double convert_ms;  /* of gray images and plain networks */
    double alpha_ms;    /* all that alpha takes */
    double rows_ms;     /* in on_rows */
    int64_t pixels[PCSR_MOST_UPSAMPLERS]; /* of the colours, per upsampler */
    double upsampler_ms[PCSR_MOST_UPSAMPLERS];
} pcsr_statistics;

/* Upscales an image. output has the size that pcsr_output_size states, and the channels and the
   format of the input; its order, layout and strides are its own. It may be NULL where on_rows
   takes the rows: the result is then never whole in memory. Input and output must not overlap.
   Alpha is upscaled as an image of its own, and colours under transparent pixels do not reach the
   result. options and statistics may be NULL. Where it fails, the output is undefined. */
PCSR_API pcsr_status pcsr_run(pcsr_upscaler *upscaler, const pcsr_image *input,
                              const pcsr_image *output, const pcsr_run_options *options,
                              pcsr_statistics *statistics);

#ifdef __cplusplus
}
#endif
#endif
