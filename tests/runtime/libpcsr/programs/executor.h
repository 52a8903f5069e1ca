/* Executors that a program might have of its own. */
#ifndef EXECUTOR_H
#define EXECUTOR_H

#include <pcsr/pcsr.h>
#include <pthread.h>

typedef struct {
    pthread_mutex_t lock;
    size_t loops; /* that it was asked for */
} executor;

typedef struct {
    pthread_mutex_t lock;
    size_t next, count;
    pcsr_task task;
    void *argument;
} loop;

static void *work_through(void *context) {
    loop *shared = context;
    for (;;) {
        pthread_mutex_lock(&shared->lock);
        const size_t index = shared->next++;
        pthread_mutex_unlock(&shared->lock);
        if (index >= shared->count) return NULL;
        shared->task(shared->argument, index);
    }
}

static void count_loop(void *context) {
    executor *own = context;
    pthread_mutex_lock(&own->lock);
    own->loops++;
    pthread_mutex_unlock(&own->lock);
}

/* With threads that live as long as the loop; the caller's takes none of it. */
static void on_threads(void *context, size_t count, pcsr_task task, void *argument) {
    enum { THREADS = 3 };
    pthread_t threads[THREADS];
    loop shared = {PTHREAD_MUTEX_INITIALIZER, 0, count, task, argument};
    count_loop(context);
    for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, work_through, &shared);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
}

/* In the caller's thread, from the last to the first. */
static void backwards(void *context, size_t count, pcsr_task task, void *argument) {
    count_loop(context);
    while (count > 0) task(argument, --count);
}

#endif
