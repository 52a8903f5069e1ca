/* One image to upscale: its memory, options and result. */
#ifndef JOB_H
#define JOB_H

#include <pcsr/pcsr.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "fields.h"
#include "files.h"

enum { PADDING = 256 };

/* A structure as a program of a later version may hand it over: larger. */
#define GROWN(type)                \
    union {                        \
        type as;                   \
        char room[sizeof(type) + PADDING]; \
    }

typedef struct {
    pcsr_upscaler *upscaler;
    GROWN(pcsr_image) input, output;
    GROWN(pcsr_run_options) options;
    GROWN(pcsr_statistics) statistics;
    int no_input, no_output, no_options, no_statistics;
    char *input_bytes, *output_bytes, *rows_bytes;
    size_t output_size, rows_size, rows_at;
    char output_path[512], rows_path[512], difficulty_path[512], assignment_path[512];
    size_t map_size;
    int32_t next_row, cancel_row;
    int rows_wrong;
    double cancel_ms;
    pthread_t thread, canceller;
    int repeats, differs;
    pcsr_status status;
    char message[2048];
} job;

static size_t value_size(int32_t format) {
    return format == PCSR_U8 ? 1 : format == PCSR_U16 ? 2 : 4;
}

/* Collects rows as [height][width][channels], in the order of the channels that they have. */
static int32_t take_rows(void *context, int32_t first, const pcsr_image *rows) {
    job *of = context;
    const size_t size = value_size(rows->format);
    const size_t pixel = size * (size_t)rows->channels;
    const int planar = rows->layout == PCSR_PLANAR;
    int64_t row = rows->row_stride;
    if (row == 0) row = (int64_t)(planar ? size : pixel) * rows->width;
    const int64_t plane = rows->plane_stride ? rows->plane_stride : row * rows->height;
    of->rows_wrong |= first != of->next_row || !pthread_equal(pthread_self(), of->thread);
    of->rows_wrong |= rows->struct_size != sizeof *rows || rows->height < 1;
    of->next_row = first + rows->height;
    for (int32_t y = 0; y < rows->height; y++) {
        for (int32_t x = 0; x < rows->width; x++) {
            for (int32_t c = 0; c < rows->channels; c++) {
                const int64_t step = planar ? (int64_t)size : (int64_t)pixel;
                const int64_t at = row * y + step * x + (planar ? plane : (int64_t)size) * c;
                if (of->rows_at + size > of->rows_size) return 1;
                memcpy(of->rows_bytes + of->rows_at, (const char *)rows->data + at, size);
                of->rows_at += size;
            }
        }
    }
    return of->cancel_row >= 0 && of->next_row > of->cancel_row;
}

static void fill_image(const command *parsed, pcsr_image *image, const char *prefix,
                       const pcsr_image *defaults) {
    char key[64];
#define FIELD(type, field)                        \
    snprintf(key, sizeof key, "%s" #field, prefix); \
    image->field = (type)whole(parsed, key, (int64_t)defaults->field)
    FIELD(size_t, struct_size);
    FIELD(int32_t, width);
    FIELD(int32_t, height);
    FIELD(int32_t, channels);
    FIELD(int32_t, format);
    FIELD(int32_t, order);
    FIELD(int32_t, layout);
    FIELD(int64_t, row_stride);
    FIELD(int64_t, plane_stride);
#undef FIELD
}

static void fill_images(const command *parsed, job *made) {
    pcsr_image defaults;
    memset(&defaults, 0, sizeof defaults);
    defaults.struct_size = sizeof defaults;
    defaults.channels = 3;
    fill_image(parsed, &made->input.as, "", &defaults);
    made->no_input = text(parsed, "no_input") != NULL;
    made->input_bytes = text(parsed, "input") ? read_file(text(parsed, "input")) : NULL;
    if (made->input_bytes) made->input.as.data = made->input_bytes + whole(parsed, "offset", 0);
    defaults = made->input.as;
    defaults.struct_size = sizeof defaults;
    defaults.row_stride = defaults.plane_stride = 0;
    fill_image(parsed, &made->output.as, "out_", &defaults);
    made->output_size = (size_t)whole(parsed, "out_bytes", 0);
    made->no_output = text(parsed, "out_bytes") == NULL;
    made->output_bytes = allocated(made->output_size);
    memset(made->output_bytes, 0xA5, made->output_size);
    made->output.as.data = made->output_bytes + whole(parsed, "out_offset", 0);
    if (text(parsed, "overlap")) made->output.as.data = made->input.as.data;
    if (text(parsed, "no_data")) made->output.as.data = NULL;
    copy_path(made->output_path, text(parsed, "output"));
}

static void fill_options(const command *parsed, job *made) {
    pcsr_run_options *options = &made->options.as;
    options->struct_size = (size_t)whole(parsed, "options_size", sizeof *options);
    memset(made->options.room + sizeof *options, (int)whole(parsed, "tail", 0), PADDING);
    options->scale = real(parsed, "scale", 0);
    options->routing = (int32_t)whole(parsed, "routing", PCSR_ROUTE_K);
    options->refine = (int32_t)whole(parsed, "refine", PCSR_REFINE_AS_EXPORTED);
    options->k = real(parsed, "k", 0);
    options->heavy_ratio = real(parsed, "heavy_ratio", 0);
    made->map_size = (size_t)made->output.as.width * (size_t)made->output.as.height;
    copy_path(made->difficulty_path, text(parsed, "difficulty"));
    copy_path(made->assignment_path, text(parsed, "assignment"));
    if (made->difficulty_path[0]) options->difficulty = calloc(made->map_size, sizeof(float));
    if (made->assignment_path[0]) options->assignment = calloc(made->map_size, 1);
    copy_path(made->rows_path, text(parsed, "rows"));
    if (made->rows_path[0]) {
        made->rows_size = made->map_size * (size_t)made->output.as.channels *
                          value_size(made->output.as.format);
        made->rows_bytes = allocated(made->rows_size);
        options->on_rows = take_rows;
        options->on_rows_context = made;
    }
    made->cancel_row = (int32_t)whole(parsed, "cancel_row", -1);
    made->cancel_ms = real(parsed, "cancel_ms", -1);
    if (text(parsed, "cancel_ms") && pcsr_cancellation_create(&options->cancellation) != PCSR_OK)
        fail("no cancellation");
    if (made->cancel_ms == 0) pcsr_cancel(options->cancellation);
}

static void *cancel_later(void *context) {
    job *of = context;
    const long nanoseconds = (long)(of->cancel_ms * 1e6);
    const struct timespec time = {nanoseconds / 1000000000L, nanoseconds % 1000000000L};
    nanosleep(&time, NULL);
    pcsr_cancel(of->options.as.cancellation);
    return NULL;
}

static void run_once(job *of) {
    of->next_row = 0;
    of->rows_at = 0;
    of->status = pcsr_run(of->upscaler, of->no_input ? NULL : &of->input.as,
                          of->no_output ? NULL : &of->output.as,
                          of->no_options ? NULL : &of->options.as,
                          of->no_statistics ? NULL : &of->statistics.as);
    strncpy(of->message, of->status == PCSR_OK ? "" : pcsr_message(of->upscaler),
            sizeof of->message - 1);
}

static void *run_job(void *context) {
    job *of = context;
    of->thread = pthread_self();
    const int cancels = of->cancel_ms > 0;
    if (cancels) pthread_create(&of->canceller, NULL, cancel_later, of);
    run_once(of);
    char *first = allocated(of->output_size);
    memcpy(first, of->output_bytes, of->output_size);
    for (int i = 1; i < of->repeats && of->status == PCSR_OK; i++) {
        run_once(of);
        of->differs |= memcmp(first, of->output_bytes, of->output_size) != 0;
    }
    free(first);
    if (cancels) pthread_join(of->canceller, NULL);
    return NULL;
}

static void print_statistics(const pcsr_statistics *done) {
    printf("\twidth=%d\theight=%d\tupsamplers=%d\tthreshold=%.17g\ttotal_ms=%.17g", done->width,
           done->height, done->upsamplers, done->threshold, done->total_ms);
    double sum = done->prepare_ms + done->backbone_ms + done->classifier_ms + done->routing_ms +
                 done->compose_ms + done->refinement_ms + done->convert_ms + done->alpha_ms +
                 done->rows_ms;
    printf("\tpixels=");
    for (int j = 0; j < done->upsamplers; j++) {
        printf(j ? ",%lld" : "%lld", (long long)done->pixels[j]);
        sum += done->upsampler_ms[j];
    }
    printf("\tsum_ms=%.17g\trows_ms=%.17g\talpha_ms=%.17g", sum, done->rows_ms, done->alpha_ms);
}

static void finish_job(job *of) {
    printf("status=%d", (int)of->status);
    print_text("message", of->message);
    printf("\tdiffers=%d\trows_wrong=%d\trows_end=%d", of->differs, of->rows_wrong, of->next_row);
    if (of->status == PCSR_OK && !of->no_statistics) print_statistics(&of->statistics.as);
    if (of->output_path[0]) write_file(of->output_path, of->output_bytes, of->output_size);
    if (of->rows_path[0]) write_file(of->rows_path, of->rows_bytes, of->rows_at);
    const pcsr_run_options *options = &of->options.as;
    if (options->difficulty)
        write_file(of->difficulty_path, options->difficulty, of->map_size * sizeof(float));
    if (options->assignment) write_file(of->assignment_path, options->assignment, of->map_size);
    pcsr_cancellation_destroy(options->cancellation);
    free(options->difficulty);
    free(options->assignment);
    free(of->input_bytes);
    free(of->output_bytes);
    free(of->rows_bytes);
}

#endif
