// pcsr.hpp: what it promises beyond pcsr.h. Arguments: bundle, ONNX Runtime's library.
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include <pcsr/pcsr.hpp>

namespace {

int failures = 0;

void expect(bool holds, const char *what) {
    if (!holds) {
        std::fprintf(stderr, "not so: %s\n", what);
        failures++;
    }
}
#define EXPECT(...) expect((__VA_ARGS__), #__VA_ARGS__)

// Of the call, which has to throw.
template <typename Call>
pcsr_status status_of(const Call &call) {
    try {
        call();
    } catch (const pcsr::Error &error) {
        const std::string message = error.what();
        expect(!message.empty() && message.find('\n') == std::string::npos, "one line");
        return error.status();
    }
    return PCSR_OK;
}

const int32_t WIDTH = 37, HEIGHT = 29;

std::vector<uint8_t> noise(size_t size) {
    std::vector<uint8_t> pixels(size);
    uint32_t state = 1;
    for (uint8_t &value : pixels) {
        state = state * 1664525u + 1013904223u;
        value = static_cast<uint8_t>(state >> 24);
    }
    return pixels;
}

struct Enlarged {
    std::vector<uint8_t> input = noise(size_t{3} * WIDTH * HEIGHT), output;
    pcsr::Image from, to;
    explicit Enlarged(const pcsr::Upscaler &upscaler, double scale = 0)
        : from(static_cast<const void *>(input.data()), WIDTH, HEIGHT, 3) {
        const pcsr::Size size = upscaler.output_size(WIDTH, HEIGHT, scale);
        output.resize(size_t{3} * size.width * size.height);
        to = pcsr::Image(output.data(), size.width, size.height, 3);
    }
};

void sizes_are_set() {
    EXPECT(pcsr::OpenOptions().struct_size == sizeof(pcsr_open_options));
    EXPECT(pcsr::RunOptions().struct_size == sizeof(pcsr_run_options));
    EXPECT(pcsr::Info().struct_size == sizeof(pcsr_info));
    EXPECT(pcsr::Statistics().struct_size == sizeof(pcsr_statistics));
    EXPECT(pcsr::Image().struct_size == sizeof(pcsr_image));
    EXPECT(pcsr::Image().data == nullptr && pcsr::RunOptions().on_rows == nullptr);
    EXPECT(!std::is_copy_constructible_v<pcsr::Upscaler>);
    EXPECT(std::is_nothrow_move_constructible_v<pcsr::Upscaler>);
    EXPECT(std::is_nothrow_move_assignable_v<pcsr::Cancellation>);
}

void errors_are_thrown(const pcsr::Upscaler &upscaler) {
    EXPECT(status_of([] { pcsr::Upscaler("/nowhere"); }) == PCSR_ERROR_BUNDLE);
    EXPECT(status_of([&] { (void)upscaler.output_size(0, 3); }) == PCSR_ERROR_ARGUMENT);
    Enlarged image(upscaler);
    pcsr::RunOptions options;
    options.k = std::nan("");
    EXPECT(status_of([&] { upscaler.run(image.from, image.to, options); }) == PCSR_ERROR_ARGUMENT);
    image.to.width++;
    EXPECT(status_of([&] { upscaler.run(image.from, image.to); }) == PCSR_ERROR_ARGUMENT);
}

void messages_belong_to_threads(const pcsr::Upscaler &upscaler) {
    EXPECT(status_of([&] { (void)upscaler.output_size(-1, 3); }) == PCSR_ERROR_ARGUMENT);
    const std::string here = pcsr_message(upscaler.get());
    std::string before, after;
    std::thread other([&] {
        before = pcsr_message(upscaler.get());
        (void)status_of([&] { (void)upscaler.output_size(3, 3, 0.5); });
        after = pcsr_message(upscaler.get());
    });
    other.join();
    EXPECT(before.empty() && !after.empty() && after != here);
    EXPECT(here == pcsr_message(upscaler.get()));
}

void rows_come_in_order(const pcsr::Upscaler &upscaler) {
    Enlarged whole(upscaler, 2.5), streamed(upscaler, 2.5);
    pcsr::RunOptions options;
    options.scale = 2.5;
    const pcsr::Statistics done = upscaler.run(whole.from, whole.to, options);
    EXPECT(done.width == whole.to.width && done.height == whole.to.height && done.total_ms > 0);
    std::vector<uint8_t> rows;
    int32_t next = 0;
    upscaler.stream(streamed.from, options, [&](int32_t first, const pcsr_image &band) {
        EXPECT(first == next);
        next = first + band.height;
        for (int32_t y = 0; y < band.height; y++) {
            const auto *row = static_cast<const uint8_t *>(band.data) + y * band.row_stride;
            rows.insert(rows.end(), row, row + size_t{3} * band.width);
        }
        return true;
    });
    EXPECT(next == whole.to.height && rows == whole.output);
    upscaler.run(streamed.from, streamed.to, options, [](int32_t, const pcsr_image &) {
        return true;
    });
    EXPECT(streamed.output == whole.output);
}

void callbacks_end_runs(const pcsr::Upscaler &upscaler) {
    Enlarged image(upscaler);
    std::string caught;
    try {
        upscaler.stream(image.from, {}, [](int32_t, const pcsr_image &) -> bool {
            throw std::range_error("of the callback");
        });
    } catch (const std::range_error &error) {
        caught = error.what();
    }
    EXPECT(caught == "of the callback");
    const auto refuse = [](int32_t, const pcsr_image &) { return false; };
    EXPECT(status_of([&] { upscaler.stream(image.from, {}, refuse); }) == PCSR_ERROR_CANCELLED);
    EXPECT(status_of([&] { upscaler.run(image.from, image.to); }) == PCSR_OK);
}

void cancellations_end_runs(const pcsr::Upscaler &upscaler) {
    Enlarged image(upscaler);
    pcsr::Cancellation cancellation;
    pcsr::RunOptions options;
    options.cancellation = cancellation.get();
    EXPECT(status_of([&] { upscaler.run(image.from, image.to, options); }) == PCSR_OK);
    cancellation.cancel();
    const auto run = [&] { upscaler.run(image.from, image.to, options); };
    EXPECT(status_of(run) == PCSR_ERROR_CANCELLED);
}

void handles_move(pcsr::Upscaler &upscaler) {
    pcsr_upscaler *handle = upscaler.get();
    pcsr::Upscaler moved = std::move(upscaler);
    EXPECT(moved.get() == handle && moved.info().scale > 0);
    upscaler = std::move(moved);
    EXPECT(upscaler.get() == handle);
}

}  // namespace

int main(int count, char **arguments) {
    if (count != 3) return 2;
    sizes_are_set();
    pcsr::OpenOptions options;
    options.onnxruntime = arguments[2];
    options.threads = 2;
    pcsr::Upscaler upscaler(arguments[1], options);
    errors_are_thrown(upscaler);
    messages_belong_to_threads(upscaler);
    rows_come_in_order(upscaler);
    callbacks_end_runs(upscaler);
    cancellations_end_runs(upscaler);
    handles_move(upscaler);
    if (failures == 0) std::puts("all of it holds");
    return failures == 0 ? 0 : 1;
}
