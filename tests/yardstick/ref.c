// llama.cpp as a yardstick: one small program over its C interface that prints tokens, logits,
// greedy continuations and speed. It loads exactly one CPU backend, so that the instruction set
// is known and not chosen by the machine.
#include "ggml-backend.h"
#include "llama.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { MAX_TOKENS = 8192, MAX_SEQUENCES = 64 };

// What the command line says.
struct options {
    const char * model;
    const char * backend; // path of the libggml-cpu-*.so
    const char * out;     // file of `logits`
    int threads;
    int count;      // tokens that `greedy` generates, and `speed` per sequence
    int prompt;     // tokens of the prompt of `speed`
    int remembered; // tokens of that prompt that a prefix hit finds in the cache
    int sequences;  // sequences of `speed`
    llama_token tokens[MAX_TOKENS];
    int n_tokens;
    int at[MAX_TOKENS]; // positions whose logits are wanted
    int n_at;
};

// Wall and CPU seconds of this process so far.
struct moment {
    double wall, cpu;
};

static struct moment now(void) {
    struct timespec t;
    struct rusage u;
    clock_gettime(CLOCK_MONOTONIC, &t);
    getrusage(RUSAGE_SELF, &u);
    struct moment m = {
        .wall = t.tv_sec + t.tv_nsec * 1e-9,
        .cpu = u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6,
    };
    return m;
}

static void fail(const char * what) {
    fprintf(stderr, "ref: %s\n", what);
    exit(1);
}

static void quiet(enum ggml_log_level level, const char * text, void * data) {
    (void) data;
    if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

static int numbers(const char * text, int * into, int room) {
    int n = 0;
    char * end;
    for (const char * p = text; *p; p = end) {
        while (*p == ' ' || *p == ',' || *p == '\n') p++;
        if (!*p) break;
        long value = strtol(p, &end, 10);
        if (end == p) fail("a list of numbers was expected");
        if (n == room) fail("too many numbers");
        into[n++] = (int) value;
    }
    return n;
}

static struct llama_model * load(const struct options * o) {
    llama_log_set(quiet, NULL);
    if (!ggml_backend_load(o->backend)) fail("the CPU backend does not load");
    llama_backend_init();
    struct llama_model * model = llama_model_load_from_file(o->model, llama_model_default_params());
    if (!model) fail("the model does not load");
    return model;
}

static struct llama_context * context(struct llama_model * model, const struct options * o, int room) {
    struct llama_context_params p = llama_context_default_params();
    p.n_ctx = (room * o->sequences + 255) / 256 * 256;
    p.n_seq_max = o->sequences;
    p.n_batch = 512;
    p.n_threads = p.n_threads_batch = o->threads;
    struct llama_context * ctx = llama_init_from_model(model, p);
    if (!ctx) fail("no context");
    return ctx;
}

static void add(struct llama_batch * b, llama_token token, int position, int sequence, bool logits) {
    int i = b->n_tokens++;
    b->token[i] = token;
    b->pos[i] = position;
    b->n_seq_id[i] = 1;
    b->seq_id[i][0] = sequence;
    b->logits[i] = logits;
}

static void run(struct llama_context * ctx, struct llama_batch b) {
    if (llama_decode(ctx, b) != 0) fail("decoding failed");
}

// The largest logit's token, and how far it stands above the second.
static llama_token best(const float * logits, int vocab, float * margin) {
    int first = 0;
    float second = -1e30f;
    for (int i = 1; i < vocab; i++) {
        if (logits[i] > logits[first]) {
            second = logits[first];
            first = i;
        } else if (logits[i] > second) {
            second = logits[i];
        }
    }
    if (margin) *margin = logits[first] - second;
    return first;
}

static void do_tokenize(struct options * o) {
    static char text[1 << 16];
    static llama_token tokens[MAX_TOKENS];
    size_t length = fread(text, 1, sizeof text - 1, stdin);
    const struct llama_vocab * vocab = llama_model_get_vocab(load(o));
    int n = llama_tokenize(vocab, text, (int) length, tokens, MAX_TOKENS, false, true);
    if (n < 0) fail("the text is too long");
    printf("[");
    for (int i = 0; i < n; i++) printf(i ? ",%d" : "%d", tokens[i]);
    printf("]\n");
}

// Writes one row of little-endian f32 for each wanted position, in order.
static void do_logits(struct options * o) {
    struct llama_model * model = load(o);
    int vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));
    struct llama_context * ctx = context(model, o, o->n_tokens);
    struct llama_batch b = llama_batch_init(o->n_tokens, 0, 1);
    for (int i = 0; i < o->n_tokens; i++) {
        bool wanted = false;
        for (int k = 0; k < o->n_at; k++) wanted |= o->at[k] == i;
        add(&b, o->tokens[i], i, 0, wanted);
    }
    run(ctx, b);
    FILE * f = fopen(o->out, "wb");
    if (!f) fail("the output file does not open");
    for (int k = 0; k < o->n_at; k++) {
        const float * row = llama_get_logits_ith(ctx, o->at[k]);
        if (!row || fwrite(row, sizeof(float), vocab, f) != (size_t) vocab) fail("no logits");
    }
    if (fclose(f)) fail("the output file is not written");
}

static void do_greedy(struct options * o) {
    struct llama_model * model = load(o);
    const struct llama_vocab * words = llama_model_get_vocab(model);
    int vocab = llama_vocab_n_tokens(words);
    struct llama_context * ctx = context(model, o, o->n_tokens + o->count);
    struct llama_batch b = llama_batch_init(MAX_TOKENS, 0, 1);
    for (int i = 0; i < o->n_tokens; i++) add(&b, o->tokens[i], i, 0, i == o->n_tokens - 1);
    static llama_token tokens[MAX_TOKENS];
    static float margins[MAX_TOKENS];
    int n = 0;
    for (; n < o->count; n++) {
        run(ctx, b);
        tokens[n] = best(llama_get_logits_ith(ctx, -1), vocab, &margins[n]);
        b.n_tokens = 0;
        add(&b, tokens[n], o->n_tokens + n, 0, true);
        if (llama_vocab_is_eog(words, tokens[n])) {
            n++;
            break;
        }
    }
    printf("{\"tokens\":[");
    for (int i = 0; i < n; i++) printf(i ? ",%d" : "%d", tokens[i]);
    printf("],\"margins\":[");
    for (int i = 0; i < n; i++) printf(i ? ",%.3f" : "%.3f", margins[i]);
    printf("]}\n");
}

// The prompt of `sequence`: any tokens will do, since the work does not depend on them.
static llama_token word(int sequence, int position, int vocab) {
    unsigned x = (unsigned) (sequence * 1009 + position + 1) * 2654435761u;
    return (llama_token) ((x >> 8) % (unsigned) (vocab - 1)) + 1;
}

// Fills positions `from..prompt` of a sequence; its first generated token comes back.
static llama_token fill(struct llama_context * ctx, struct llama_batch * b, const struct options * o, int sequence,
                        int from, int vocab) {
    b->n_tokens = 0;
    for (int i = from; i < o->prompt; i++) add(b, word(sequence, i, vocab), i, sequence, i == o->prompt - 1);
    run(ctx, *b);
    return best(llama_get_logits_ith(ctx, -1), vocab, NULL);
}

static void do_speed(struct options * o) {
    if (o->sequences > MAX_SEQUENCES || o->prompt > 512 || o->remembered >= o->prompt) fail("sizes out of range");
    struct moment t0 = now();
    struct llama_model * model = load(o);
    int vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));
    struct llama_context * ctx = context(model, o, o->prompt + o->count + 1);
    struct llama_batch b = llama_batch_init(MAX_TOKENS, 0, 1);
    add(&b, word(0, 0, vocab), 0, 0, true);
    run(ctx, b); // Ready means that a token has been generated.
    struct moment t1 = now();

    llama_memory_t memory = llama_get_memory(ctx);
    llama_memory_clear(memory, true);
    fill(ctx, &b, o, 0, 0, vocab); // Touches everything once.
    llama_memory_clear(memory, true);

    llama_token next[MAX_SEQUENCES];
    struct moment t2 = now();
    next[0] = fill(ctx, &b, o, 0, 0, vocab);
    struct moment t3 = now();
    llama_memory_seq_rm(memory, 0, o->remembered, -1);
    struct moment t4 = now();
    next[0] = fill(ctx, &b, o, 0, o->remembered, vocab);
    struct moment t5 = now();
    for (int s = 1; s < o->sequences; s++) next[s] = fill(ctx, &b, o, s, 0, vocab);

    struct moment t6 = now();
    for (int i = 0; i < o->count; i++) {
        b.n_tokens = 0;
        for (int s = 0; s < o->sequences; s++) add(&b, next[s], o->prompt + i, s, true);
        run(ctx, b);
        for (int s = 0; s < o->sequences; s++) next[s] = best(llama_get_logits_ith(ctx, s), vocab, NULL);
    }
    struct moment t7 = now();

    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    double decoded = (double) o->sequences * o->count;
    printf("{\"engine\":\"llama.cpp\",\"threads\":%d,\"sequences\":%d,\"prompt\":%d,\"decode\":%d,\"remembered\":%d,",
           o->threads, o->sequences, o->prompt, o->count, o->remembered);
    printf("\"load_ms\":%.2f,\"load_cpu_ms\":%.2f,", (t1.wall - t0.wall) * 1e3, (t1.cpu - t0.cpu) * 1e3);
    printf("\"ttft_ms\":%.3f,\"ttft_cpu_ms\":%.3f,", (t3.wall - t2.wall) * 1e3, (t3.cpu - t2.cpu) * 1e3);
    printf("\"ttft_hit_ms\":%.3f,\"ttft_hit_cpu_ms\":%.3f,", (t5.wall - t4.wall) * 1e3, (t5.cpu - t4.cpu) * 1e3);
    printf("\"prompt_tokens_per_s\":%.2f,\"prompt_tokens_per_cpu_s\":%.2f,", o->prompt / (t3.wall - t2.wall),
           o->prompt / (t3.cpu - t2.cpu));
    printf("\"decode_tokens_per_s\":%.2f,\"decode_tokens_per_cpu_s\":%.2f,", decoded / (t7.wall - t6.wall),
           decoded / (t7.cpu - t6.cpu));
    printf("\"rss_peak_mb\":%.1f}\n", u.ru_maxrss / 1024.0);
}

int main(int argc, char ** argv) {
    static struct options o = {.threads = 1, .count = 48, .prompt = 64, .remembered = 56, .sequences = 1};
    if (argc < 2) fail("usage: ref tokenize|logits|greedy|speed --model FILE --backend FILE [--NAME VALUE ..]");
    for (int i = 2; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (!strcmp(name, "--model")) o.model = value;
        else if (!strcmp(name, "--backend")) o.backend = value;
        else if (!strcmp(name, "--out")) o.out = value;
        else if (!strcmp(name, "--threads")) o.threads = atoi(value);
        else if (!strcmp(name, "--count")) o.count = atoi(value);
        else if (!strcmp(name, "--prompt")) o.prompt = atoi(value);
        else if (!strcmp(name, "--remembered")) o.remembered = atoi(value);
        else if (!strcmp(name, "--sequences")) o.sequences = atoi(value);
        else if (!strcmp(name, "--tokens")) o.n_tokens = numbers(value, o.tokens, MAX_TOKENS);
        else if (!strcmp(name, "--at")) o.n_at = numbers(value, o.at, MAX_TOKENS);
        else fail("unknown option");
    }
    if (!o.model || !o.backend) fail("--model and --backend are needed");
    if (!strcmp(argv[1], "tokenize")) do_tokenize(&o);
    else if (!strcmp(argv[1], "logits")) do_logits(&o);
    else if (!strcmp(argv[1], "greedy")) do_greedy(&o);
    else if (!strcmp(argv[1], "speed")) do_speed(&o);
    else fail("unknown mode");
    return 0;
}
