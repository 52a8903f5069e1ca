/* Upscales what commands on standard input say, in C99, and answers each with a line of fields.

   open    name= directory= precision= onnxruntime= threads= tile_px= memory_bytes= executor= size=
   info    name=
   size    name= width= height= scale=
   queue   name= and the fields of queue_job
   go      repeats= : runs what is queued, each job in a thread of its own, and answers for each
   close   name= */
#define _POSIX_C_SOURCE 200809L

#include <pcsr/pcsr.h>
#include <pthread.h>
#include <stdio.h>

#include "executor.h"
#include "fields.h"
#include "files.h"
#include "job.h"

enum { MOST_HANDLES = 64, MOST_JOBS = 64 };

typedef struct {
    char name[64];
    pcsr_upscaler *upscaler;
    executor executor;
} handle;

static handle handles[MOST_HANDLES];
static job jobs[MOST_JOBS];
static int queued;

static void answer(pcsr_status status, const pcsr_upscaler *upscaler) {
    printf("status=%d", (int)status);
    print_text("message", pcsr_message(upscaler));
}

static handle *found(const command *parsed) {
    const char *name = text(parsed, "name");
    for (int i = 0; i < MOST_HANDLES; i++) {
        if (name != NULL && strcmp(handles[i].name, name) == 0) return &handles[i];
    }
    return NULL;
}

static void open_handle(const command *parsed) {
    handle *free_one = NULL;
    for (int i = 0; i < MOST_HANDLES && free_one == NULL; i++) {
        if (handles[i].name[0] == 0) free_one = &handles[i];
    }
    if (free_one == NULL) fail("too many handles");
    GROWN(pcsr_open_options) options;
    memset(&options, 0, sizeof options);
    options.as.struct_size = (size_t)whole(parsed, "size", sizeof options.as);
    memset(options.room + sizeof options.as, (int)whole(parsed, "tail", 0), PADDING);
    options.as.precision = text(parsed, "precision");
    options.as.onnxruntime = text(parsed, "onnxruntime");
    options.as.threads = (int32_t)whole(parsed, "threads", 0);
    options.as.tile_px = (int32_t)whole(parsed, "tile_px", 0);
    options.as.memory_bytes = (uint64_t)whole(parsed, "memory_bytes", 0);
    const char *own = text(parsed, "executor");
    if (own != NULL) {
        pthread_mutex_init(&free_one->executor.lock, NULL);
        options.as.parallel_for = strcmp(own, "threads") == 0 ? on_threads : backwards;
        options.as.parallel_context = &free_one->executor;
    }
    pcsr_upscaler *opened = (pcsr_upscaler *)1;
    const int plain = text(parsed, "no_options") != NULL;
    const pcsr_status status = pcsr_open(text(parsed, "directory"), plain ? NULL : &options.as,
                                         text(parsed, "no_handle") ? NULL : &opened);
    answer(status, NULL);
    printf("\thandle=%d", opened == NULL ? 0 : opened == (pcsr_upscaler *)1 ? -1 : 1);
    if (status == PCSR_OK) {
        free_one->upscaler = opened;
        strncpy(free_one->name, text(parsed, "name"), sizeof free_one->name - 1);
    }
}

static void close_handle(const command *parsed) {
    handle *closed = found(parsed);
    if (closed == NULL) fail("no such handle");
    pcsr_close(closed->upscaler);
    memset(closed, 0, sizeof *closed);
    printf("status=0");
}

static void print_info(const command *parsed) {
    handle *of = found(parsed);
    GROWN(pcsr_info) info;
    memset(&info, 0, sizeof info);
    info.as.struct_size = (size_t)whole(parsed, "size", sizeof info.as);
    pcsr_upscaler *upscaler = of == NULL ? NULL : of->upscaler;
    const pcsr_status status = pcsr_get_info(upscaler, text(parsed, "no_info") ? NULL : &info.as);
    answer(status, upscaler);
    printf("\tstruct_size=%zu", info.as.struct_size);
    if (status != PCSR_OK) return;
    printf("\tscale=%.17g\tupsamplers=%d\treceptive_radius_px=%d\trefine=%d\tthreads=%d",
           info.as.scale, info.as.upsamplers, info.as.receptive_radius_px, info.as.refine,
           info.as.threads);
    print_text("precision", info.as.precision ? info.as.precision : "(null)");
    print_text("instructions", info.as.instructions ? info.as.instructions : "(null)");
    print_text("onnxruntime", info.as.onnxruntime ? info.as.onnxruntime : "(null)");
    printf("\tloops=%zu", of->executor.loops);
}

static void print_size(const command *parsed) {
    handle *of = found(parsed);
    int32_t width = -1, height = -1;
    pcsr_upscaler *upscaler = of == NULL ? NULL : of->upscaler;
    const pcsr_status status =
        pcsr_output_size(upscaler, (int32_t)whole(parsed, "width", 0),
                         (int32_t)whole(parsed, "height", 0), real(parsed, "scale", 0),
                         text(parsed, "no_width") ? NULL : &width, &height);
    answer(status, upscaler);
    printf("\twidth=%d\theight=%d", width, height);
}

static void queue_job(const command *parsed) {
    if (queued == MOST_JOBS) fail("too many jobs");
    job *made = &jobs[queued++];
    memset(made, 0, sizeof *made);
    handle *of = found(parsed);
    made->upscaler = of == NULL ? NULL : of->upscaler;
    fill_images(parsed, made);
    fill_options(parsed, made);
    made->no_options = text(parsed, "no_options") != NULL;
    made->no_statistics = text(parsed, "no_statistics") != NULL;
    made->statistics.as.struct_size =
        (size_t)whole(parsed, "statistics_size", sizeof made->statistics.as);
    printf("status=0");
}

static void go(const command *parsed) {
    pthread_t threads[MOST_JOBS];
    for (int i = 0; i < queued; i++) {
        jobs[i].repeats = (int)whole(parsed, "repeats", 1);
        if (pthread_create(&threads[i], NULL, run_job, &jobs[i]) != 0) fail("no thread");
    }
    for (int i = 0; i < queued; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < queued; i++) {
        finish_job(&jobs[i]);
        if (i + 1 < queued) printf("\n");
    }
    queued = 0;
}

int main(void) {
    static char line[1 << 16];
    command parsed;
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (!parse(line, &parsed)) fail("no command");
        if (strcmp(parsed.verb, "open") == 0) open_handle(&parsed);
        else if (strcmp(parsed.verb, "close") == 0) close_handle(&parsed);
        else if (strcmp(parsed.verb, "info") == 0) print_info(&parsed);
        else if (strcmp(parsed.verb, "size") == 0) print_size(&parsed);
        else if (strcmp(parsed.verb, "queue") == 0) queue_job(&parsed);
        else if (strcmp(parsed.verb, "go") == 0) go(&parsed);
        else fail("no such command");
        printf("\n");
        fflush(stdout);
    }
    for (int i = 0; i < MOST_HANDLES; i++) pcsr_close(handles[i].upscaler);
    return 0;
}
