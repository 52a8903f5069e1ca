/* The sizes and the places that programs were compiled with, on 64-bit machines. A change of one is
   a change of the ABI: SOVERSION has to grow. Valid as C99 and as C++. */
#include <pcsr/pcsr.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define JOINED_(a, b) a##b
#define JOINED(a, b) JOINED_(a, b)
#define HOLDS(condition) typedef char JOINED(holds_, __LINE__)[(condition) ? 1 : -1]
#define SIZE(structure, bytes) HOLDS(sizeof(structure) == bytes)
#define OFFSET(structure, field, bytes) HOLDS(offsetof(structure, field) == bytes)
#define VALUE(name, number) HOLDS((int)name == number)

SIZE(pcsr_open_options, 56);
OFFSET(pcsr_open_options, struct_size, 0);
OFFSET(pcsr_open_options, precision, 8);
OFFSET(pcsr_open_options, onnxruntime, 16);
OFFSET(pcsr_open_options, threads, 24);
OFFSET(pcsr_open_options, tile_px, 28);
OFFSET(pcsr_open_options, memory_bytes, 32);
OFFSET(pcsr_open_options, parallel_for, 40);
OFFSET(pcsr_open_options, parallel_context, 48);

SIZE(pcsr_info, 56);
OFFSET(pcsr_info, struct_size, 0);
OFFSET(pcsr_info, scale, 8);
OFFSET(pcsr_info, upsamplers, 16);
OFFSET(pcsr_info, receptive_radius_px, 20);
OFFSET(pcsr_info, refine, 24);
OFFSET(pcsr_info, threads, 28);
OFFSET(pcsr_info, precision, 32);
OFFSET(pcsr_info, instructions, 40);
OFFSET(pcsr_info, onnxruntime, 48);

SIZE(pcsr_image, 56);
OFFSET(pcsr_image, struct_size, 0);
OFFSET(pcsr_image, data, 8);
OFFSET(pcsr_image, width, 16);
OFFSET(pcsr_image, height, 20);
OFFSET(pcsr_image, channels, 24);
OFFSET(pcsr_image, format, 28);
OFFSET(pcsr_image, order, 32);
OFFSET(pcsr_image, layout, 36);
OFFSET(pcsr_image, row_stride, 40);
OFFSET(pcsr_image, plane_stride, 48);

SIZE(pcsr_run_options, 80);
OFFSET(pcsr_run_options, struct_size, 0);
OFFSET(pcsr_run_options, scale, 8);
OFFSET(pcsr_run_options, routing, 16);
OFFSET(pcsr_run_options, refine, 20);
OFFSET(pcsr_run_options, k, 24);
OFFSET(pcsr_run_options, heavy_ratio, 32);
OFFSET(pcsr_run_options, difficulty, 40);
OFFSET(pcsr_run_options, assignment, 48);
OFFSET(pcsr_run_options, on_rows, 56);
OFFSET(pcsr_run_options, on_rows_context, 64);
OFFSET(pcsr_run_options, cancellation, 72);

SIZE(pcsr_statistics, 4192);
OFFSET(pcsr_statistics, struct_size, 0);
OFFSET(pcsr_statistics, width, 8);
OFFSET(pcsr_statistics, height, 12);
OFFSET(pcsr_statistics, upsamplers, 16);
OFFSET(pcsr_statistics, threshold, 24);
OFFSET(pcsr_statistics, total_ms, 32);
OFFSET(pcsr_statistics, prepare_ms, 40);
OFFSET(pcsr_statistics, backbone_ms, 48);
OFFSET(pcsr_statistics, classifier_ms, 56);
OFFSET(pcsr_statistics, routing_ms, 64);
OFFSET(pcsr_statistics, compose_ms, 72);
OFFSET(pcsr_statistics, refinement_ms, 80);
OFFSET(pcsr_statistics, convert_ms, 88);
OFFSET(pcsr_statistics, alpha_ms, 96);
OFFSET(pcsr_statistics, rows_ms, 104);
OFFSET(pcsr_statistics, pixels, 112);
OFFSET(pcsr_statistics, upsampler_ms, 2152);

VALUE(PCSR_OK, 0);
VALUE(PCSR_ERROR_ARGUMENT, 1);
VALUE(PCSR_ERROR_BUNDLE, 2);
VALUE(PCSR_ERROR_BACKEND, 3);
VALUE(PCSR_ERROR_IMAGE, 4);
VALUE(PCSR_ERROR_MEMORY, 5);
VALUE(PCSR_ERROR_CANCELLED, 6);
VALUE(PCSR_ERROR_INTERNAL, 7);
VALUE(PCSR_U8, 0);
VALUE(PCSR_U16, 1);
VALUE(PCSR_F32, 2);
VALUE(PCSR_RGB, 0);
VALUE(PCSR_BGR, 1);
VALUE(PCSR_INTERLEAVED, 0);
VALUE(PCSR_PLANAR, 1);
VALUE(PCSR_ROUTE_K, 0);
VALUE(PCSR_ROUTE_ADAPTIVE, 1);
VALUE(PCSR_ROUTE_HEAVY_RATIO, 2);
VALUE(PCSR_REFINE_AS_EXPORTED, 0);
VALUE(PCSR_REFINE_ON, 1);
VALUE(PCSR_REFINE_OFF, 2);

/* Prints the version of the library that it runs with; fails where a status has no words. */
int main(void) {
    pcsr_status status;
    for (status = -2; status < 100; status++) {
        const char *words = pcsr_status_text(status);
        if (words == NULL || strlen(words) < 2 || strchr(words, '\n') != NULL) return 1;
    }
    if (strcmp(pcsr_message(NULL), "") != 0) return 2;
    pcsr_close(NULL);
    pcsr_cancel(NULL);
    pcsr_cancellation_destroy(NULL);
    puts(pcsr_version());
    return 0;
}
