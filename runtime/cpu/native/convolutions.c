#include "convolutions_kernels.h"
#include "instructions.h"

#include <string.h>

#ifdef _WIN32
#include <windows.h>
static void leave_core(void) { Sleep(0); }
#else
#include <sched.h>
static void leave_core(void) { sched_yield(); }
#endif

/* On a busy machine the thread that is waited for may need this very core: 4000 pauses (0.1 ms)
   took 2.4 times as long there. To sleep is to lose the core for a whole slice. */
enum { SPINS = 100, SEGMENT = 256 };
enum { UNIT = 4 }; /* pixels that are not divided between threads */

static int least(int a, int b) { return a < b ? a : b; }

static void pause_core(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static uint8_t *line(const pcsr_network *network, const pcsr_run *run, int tensor, int block,
                     int y) {
    const pcsr_tensor *t = network->tensor + tensor;
    if (y < 0 || y >= run->height) return run->workspace + t->outside;
    return run->workspace + t->start + y % t->rows * t->row_bytes + block * t->line_bytes;
}

/* Image row y, normalised, as bf16: colours [count][3] from column `first` on, zeros outside. */
static void read_colours(const pcsr_run *run, const pcsr_step *step, int y, int first, int count,
                         uint16_t *colours) {
    int from = first < 0 ? -first : 0, until = least(count, run->width - first);
    memset(colours, 0, 3 * count * sizeof *colours);
    for (int c = 0; c < 3; c++) {
        const float *row = run->image + c * run->plane + y * run->stride;
        float mean = step->bias[c], std = step->bias[3 + c];
        for (int i = from; i < until; i++)
            colours[3 * i + c] = pcsr_to_bf16((row[first + i] - mean) / std);
    }
}

/* Image row y as [column][colour] of the columns around each pixel. */
static void normalise(const pcsr_network *network, const pcsr_run *run, const pcsr_step *step,
                      int y, int left, int right) {
    uint8_t *out = line(network, run, step->out, 0, y);
    uint16_t colours[3 * (SEGMENT + PCSR_LANES)], used[PCSR_LANES] = {0};
    uint64_t kept[4], pixel[4];
    memset(used, 0xff, 3 * step->across * sizeof *used);
    memcpy(kept, used, sizeof kept);
    for (int first = left; first < right; first += SEGMENT) {
        int count = least(SEGMENT, right - first), beside = step->across / 2;
        read_colours(run, step, y, first - beside, count + PCSR_LANES - 1, colours);
        for (int x = 0; x < count; x++) {
            memcpy(pixel, colours + 3 * x, sizeof pixel);
            for (int i = 0; i < 4; i++) pixel[i] &= kept[i];
            memcpy(out + (int64_t)(first + x) * sizeof pixel, pixel, sizeof pixel);
        }
    }
}

/* Image row y as float32 [column][4]. */
static void normalise_float(const pcsr_network *network, const pcsr_run *run, const pcsr_step *step,
                            int y, int left, int right) {
    float *out = (float *)line(network, run, step->out, 0, y);
    for (int c = 0; c < 3; c++) {
        const float *row = run->image + c * run->plane + y * run->stride;
        for (int x = left; x < right; x++)
            out[4 * x + c] = (row[x] - step->bias[c]) / step->bias[3 + c];
    }
}

static void convolve(const pcsr_network *network, const pcsr_run *run, const pcsr_step *step, int y,
                     int left, int right) {
    const uint8_t *in[PCSR_MOST_BLOCKS * PCSR_MOST_KERNEL], *added[PCSR_MOST_BLOCKS];
    uint8_t *out[PCSR_MOST_BLOCKS];
    pcsr_row row = {.step = step, .in = in, .left = left, .right = right};
    for (int i = 0; i < step->inputs; i++)
        for (int k = 0; k < step->kernel; k++)
            in[i * step->kernel + k] = line(network, run, step->input[i].tensor,
                                            step->input[i].block, y + k - step->kernel / 2);
    for (int o = 0; o < step->outputs; o++) {
        if (step->added >= 0) added[o] = line(network, run, step->added, o, y);
        if (step->out >= 0) out[o] = line(network, run, step->out, o, y);
    }
    if (step->added >= 0) row.added = added;
    if (step->out >= 0) row.out = out;
    if (step->features) {
        row.features = run->features + y * run->stride;
        row.plane = run->plane;
    }
    if (step->kind == PCSR_CONVOLVE_BF16) pcsr_convolve_bf16(&row);
    if (step->kind == PCSR_CONVOLVE_INT8) pcsr_convolve_int8(&row);
    if (step->kind == PCSR_CONVOLVE_IMAGE) pcsr_convolve_image(&row);
}

/* Where part `index` of `count` begins, of what reaches from `first` to `last`. */
static int start_of(int64_t first, int64_t last, int index, int count) {
    return (int)(first + (last - first) * index / count);
}

/* Part `part` of what a step computes in a round. */
static void compute(const pcsr_network *network, const pcsr_run *run, const pcsr_step *step,
                    int round, int part) {
    int64_t first = (int64_t)round * run->round_rows - step->delay, last = first + run->round_rows;
    first = first > 0 ? first : 0, last = last < run->height ? last : run->height;
    if (first >= last) return;
    int row = part / run->columns, column = part % run->columns, rows = run->parts / run->columns;
    int top = start_of(first, last, row, rows), bottom = start_of(first, last, row + 1, rows);
    int units = run->width / UNIT + (run->width % UNIT > 0);
    int left = start_of(0, units, column, run->columns) * UNIT;
    int right = least(run->width, start_of(0, units, column + 1, run->columns) * UNIT);
    if (step->features) {
        left = left > run->first ? left : run->first;
        right = least(right, run->last);
    }
    for (int y = top; y < bottom && left < right; y++) {
        if (step->kind == PCSR_NORMALISE)
            normalise(network, run, step, y, left, right);
        else if (step->kind == PCSR_NORMALISE_FLOAT)
            normalise_float(network, run, step, y, left, right);
        else
            convolve(network, run, step, y, left, right);
    }
}

static int is_stopped(const pcsr_run *run) {
    return __atomic_load_n(&run->stopped, __ATOMIC_RELAXED);
}

/* Waits until so many parts are finished; returns 0 where the run is stopped. Who waits has found
   all parts before claimed by threads that run, so that it waits for no one to begin. */
static int wait_for(const pcsr_run *run, int64_t parts) {
    for (int tries = 0; __atomic_load_n(&run->finished, __ATOMIC_ACQUIRE) < parts; tries++) {
        if (is_stopped(run)) return 0;
        if (tries < SPINS)
            pause_core();
        else
            leave_core();
    }
    return 1;
}

void pcsr_convolve(const pcsr_network *network, pcsr_run *run, int32_t thread) {
    int64_t groups = (int64_t)run->rounds * network->steps;
    for (int64_t group = 0; group < groups; group++) {
        const pcsr_step *step = network->step + group % network->steps;
        int round = (int)(group / network->steps), waited = 0;
        for (int i = 0; i < run->parts; i++) {
            int part = (thread + i) % run->parts;
            uint8_t *claimed = run->claimed + group * run->parts + part;
            if (__atomic_load_n(claimed, __ATOMIC_RELAXED) ||
                __atomic_exchange_n(claimed, 1, __ATOMIC_RELAXED))
                continue;
            if (!waited && !wait_for(run, group * run->parts)) return;
            waited = 1;
            compute(network, run, step, round, part);
            __atomic_add_fetch(&run->finished, 1, __ATOMIC_RELEASE);
        }
        if (is_stopped(run)) return;
    }
}

int32_t pcsr_can_convolve(int32_t kind) {
    int features = pcsr_features();
    if (kind == PCSR_CONVOLVE_INT8)
        return pcsr_convolve_int8 && features & PCSR_AVX512 && features & PCSR_AVX512_VNNI;
    return kind == PCSR_CONVOLVE_BF16 && pcsr_convolve_bf16 && features & PCSR_AVX512_BF16;
}
