#include "step.h"

#include <math.h>
#include <omp.h>

#include "vectors.h"

/* What threads share: residual stream, queries with keys and values, answers, the feed-forward's inside. */
typedef struct {
    float *x, *qkv, *answers, *gate, *up;
} Shared;

/* What a thread has for itself. */
typedef struct {
    Given given;
    float *normed, *scores;
    int number, of;
} Own;

static int64_t whole(int64_t bytes) { return (bytes + 63) / 64 * 64; }

static int widest(const Stack *s) {
    int width = s->model > s->ffn ? s->model : s->ffn;
    int heads = s->heads * s->head;
    return ((width > heads ? width : heads) + BLOCK - 1) / BLOCK * BLOCK;
}

static int qkv_width(const Stack *s) { return (s->heads + 2 * s->kv_heads) * s->head; }

static Paged paged(const Stack *s, const Call *c, int layer) {
    int64_t bytes = (int64_t)layer * c->slots * s->kv_heads * s->head * (c->bf16 ? 2 : 4);
    return (Paged){c->bf16,         s->heads,  s->kv_heads, s->head,     c->size,      c->blocks, s->layer[layer].window,
                   s->layer[layer].scale, c->tables, c->lengths,  c->k + bytes, c->v + bytes};
}

static int64_t own_bytes(const Stack *s, const Call *c) {
    Paged first = paged(s, c, 0);
    return whole(given_bytes(c->rows, widest(s))) + whole(4 * (int64_t)c->rows * s->model) +
           whole(4 * attend_floats(&first));
}

static int64_t shared_bytes(const Stack *s, const Call *c) {
    int64_t n = 4 * (int64_t)c->rows;
    return whole(n * s->model) + whole(n * qkv_width(s)) + whole(n * s->heads * s->head) + 2 * whole(n * s->ffn);
}

int64_t step_bytes(const Stack *s, const Call *c) { return shared_bytes(s, c) + c->threads * own_bytes(s, c) + 64; }

static void lay(const Stack *s, const Call *c, Shared *shared) {
    int64_t n = 4 * (int64_t)c->rows;
    char *room = c->room;
    shared->x = (float *)room, room += whole(n * s->model);
    shared->qkv = (float *)room, room += whole(n * qkv_width(s));
    shared->answers = (float *)room, room += whole(n * s->heads * s->head);
    shared->gate = (float *)room, room += whole(n * s->ffn);
    shared->up = (float *)room;
}

static void lay_own(const Stack *s, const Call *c, Own *own, int number, int of) {
    char *room = c->room + shared_bytes(s, c) + number * own_bytes(s, c);
    given_at(&own->given, room, c->rows, widest(s)), room += whole(given_bytes(c->rows, widest(s)));
    own->normed = (float *)room, room += whole(4 * (int64_t)c->rows * s->model);
    own->scores = (float *)room, own->number = number, own->of = of;
}

/* ---- vectors of channels ---- */

static void normalize(const Norm *norm, const float *x, int size, float *to) {
    double mean = 0, square = 0;
    F sum = {0}, squares = {0};
    float shift = 0;
    int i = 0;
    if (norm->centering == LAYER) {
        for (; i + LANES <= size; i += LANES) sum += load(x + i);
        for (mean = total(sum); i < size; i++) mean += x[i];
        shift = (float)(mean / size), i = 0;
    }
    for (; i + LANES <= size; i += LANES) {
        F centered = load(x + i) - shift;
        squares = madd(centered, centered, squares);
    }
    for (square = total(squares); i < size; i++) square += (double)(x[i] - shift) * (x[i] - shift);
    float scale = 1 / sqrtf((float)(square / size) + norm->eps);
    for (i = 0; i < size; i++) to[i] = (x[i] - shift) * scale * norm->weight[i] + (norm->bias ? norm->bias[i] : 0.0f);
}

static void normalize_rows(const Norm *norm, const float *x, int rows, int size, float *to) {
    for (int row = 0; row < rows; row++) normalize(norm, x + (int64_t)row * size, size, to + (int64_t)row * size);
}

INLINE F sigmoid(F x) { return 1.0f / (exponential(-x) + 1.0f); }

INLINE F activated(int kind, F x) {
    if (kind == SILU) return x * sigmoid(x);
    if (kind == GELU_TANH) return x * sigmoid((madd(x * x * x, all(0.044715f), x)) * 1.5957691216f);
    if (kind == RELU) return larger(x, all(0));
    F made;
    for (int i = 0; i < LANES; i++) made[i] = x[i] * 0.5f * (1 + erff(x[i] * 0.70710678f));
    return made;
}

/* gate ← activation(gate) · up over a stretch; without ``up`` the activation alone */
static void activate(int kind, float *gate, const float *up, int count) {
    for (int i = 0; i < count; i += LANES) {
        float padded[2][LANES] = {{0}};
        int some = count - i < LANES ? count - i : LANES;
        memcpy(padded[0], gate + i, 4 * some);
        if (up) memcpy(padded[1], up + i, 4 * some);
        F made = activated(kind, load(padded[0]));
        store(padded[0], up ? made * load(padded[1]) : made);
        memcpy(gate + i, padded[0], 4 * some);
    }
}

/* (a, b) → (a cos - b sin, b cos + a sin); turns: cos, then sin */
static void turn(const Stack *s, float *x, const float *turns) {
    int pairs = s->turned / 2, far = s->neighbors ? 1 : pairs;
    for (int i = 0; i < pairs; i++) {
        float *at = x + (s->neighbors ? 2 * i : i), a = at[0], b = at[far], cos = turns[i], sin = turns[pairs + i];
        at[0] = a * cos - b * sin, at[far] = b * cos + a * sin;
    }
}

static void enter(const Stack *s, const Call *c, int row, float *x) {
    int64_t at = c->tokens[row] * s->model, place = c->positions[row] * s->model;
    for (int i = 0; i < s->model; i++) {
        float value = s->table_bf16 ? wide(((const uint16_t *)s->table)[at + i]) : ((const float *)s->table)[at + i];
        value *= s->embed_scale;
        if (s->places)
            value += s->table_bf16 ? wide(((const uint16_t *)s->places)[place + i]) : ((const float *)s->places)[place + i];
        x[i] = value;
    }
}

/* ---- phases: all threads do a share of each, and wait for each other between them ---- */

/* This thread's share of ``count`` pieces. */
static void share(const Own *own, int count, int *first, int *end) {
    *first = (int)((int64_t)count * own->number / own->of);
    *end = (int)((int64_t)count * (own->number + 1) / own->of);
}

/* y_i = or += W_i x for maps of the same x, whose answers lie side by side in rows of ``step`` floats. */
static void multiply(const Own *own, const Matrix *const *maps, int count, float *y, int64_t step, int add) {
    int pieces = 0, first, end, before = 0;
    for (int i = 0; i < count; i++) pieces += panels(maps[i]);
    share(own, pieces, &first, &end);
    for (int i = 0; i < count; y += maps[i]->out, before += panels(maps[i]), i++)
        for (int p = 0; p < panels(maps[i]); p++)
            if (before + p >= first && before + p < end) panel(maps[i], &own->given, p, y, step, add);
}

static void look(const Stack *s, const Call *c, const Own *own, const Layer *l, const Paged *pages, const Shared *shared) {
    int first, end, D = s->head, group = s->heads / s->kv_heads;
    int64_t width = qkv_width(s);
    share(own, c->rows * s->kv_heads, &first, &end);
    for (int one = first; one < end; one++) {
        int row = one / s->kv_heads, head = one % s->kv_heads;
        float *qkv = shared->qkv + row * width, *k = qkv + (s->heads + head) * D, *q = qkv + head * group * D;
        const float *turns = c->turns + (int64_t)row * s->turned;
        if (l->k_norm.weight) normalize(&l->k_norm, k, D, k);
        turn(s, k, turns);
        keep(pages, row, head, k, k + s->kv_heads * D);
        for (int h = 0; h < group; h++) {
            if (l->q_norm.weight) normalize(&l->q_norm, q + h * D, D, q + h * D);
            turn(s, q + h * D, turns);
        }
    }
#pragma omp barrier
    for (int one = first; one < end; one++) {
        int row = one / s->kv_heads, head = one % s->kv_heads, at = head * group * D;
        float *out = shared->answers + (int64_t)row * s->heads * D + at;
        attend(pages, row, head, shared->qkv + row * width + at, out, own->scores);
    }
}

static void feed(const Stack *s, const Own *own, const Layer *l, const Shared *shared, int rows) {
    int first, end, gated = l->gate.out > 0;
    share(own, panels(&l->up), &first, &end);
    for (int p = first; p < end; p++) {
        int at = p * PANEL, count = s->ffn - at < PANEL ? s->ffn - at : PANEL;
        float *inner = gated ? shared->gate : shared->up;
        if (gated) panel(&l->gate, &own->given, p, shared->gate, s->ffn, 0);
        panel(&l->up, &own->given, p, shared->up, s->ffn, 0);
        for (int64_t row = 0; row < rows; row++)
            activate(s->activation, inner + row * s->ffn + at, gated ? shared->up + row * s->ffn + at : 0, count);
    }
}

static void block(const Stack *s, const Call *c, Own *own, const Shared *shared, int number) {
    const Layer *l = s->layer + number;
    const Matrix *qkv[] = {&l->q, &l->k, &l->v}, *o[] = {&l->o}, *in[] = {&l->up, &l->gate}, *out[] = {&l->down};
    int gated = l->gate.out > 0, wide = s->heads * s->head;
    Paged pages = paged(s, c, number);
    normalize_rows(&l->attention, shared->x, c->rows, s->model, own->normed);
    give(&own->given, qkv, 3, own->normed, s->model, c->rows);
    multiply(own, qkv, 3, shared->qkv, qkv_width(s), 0);
#pragma omp barrier
    look(s, c, own, l, &pages, shared);
#pragma omp barrier
    give(&own->given, o, 1, shared->answers, wide, c->rows);
    multiply(own, o, 1, shared->x, s->model, 1);
#pragma omp barrier
    normalize_rows(&l->ffn_norm, shared->x, c->rows, s->model, own->normed);
    give(&own->given, in, 1 + gated, own->normed, s->model, c->rows);
    feed(s, own, l, shared, c->rows);
#pragma omp barrier
    give(&own->given, out, 1, gated ? shared->gate : shared->up, s->ffn, c->rows);
    multiply(own, out, 1, shared->x, s->model, 1);
#pragma omp barrier
}

static void score(const Stack *s, const Call *c, Own *own, const Shared *shared) {
    const Matrix *scores[] = {&s->scores};
    normalize_rows(&s->norm, shared->x, c->rows, s->model, own->normed);
    if (s->hidden_scale != 1.0f)
        for (int64_t i = 0; i < (int64_t)c->rows * s->model; i++) own->normed[i] *= s->hidden_scale;
    give(&own->given, scores, 1, own->normed, s->model, c->rows);
    multiply(own, scores, 1, c->logits, s->vocab, 0);
}

static int wrong(const Stack *s, const Call *c) {
    int64_t blocks = c->slots / c->size;
    for (int row = 0; row < c->rows; row++) {
        int keys = c->lengths[row];
        if (c->tokens[row] < 0 || c->tokens[row] >= s->vocab) return 1;
        if (c->positions[row] < 0 || (s->places && c->positions[row] >= s->contexts)) return 2;
        if (keys < 1 || keys > (int64_t)c->blocks * c->size) return 3;
        for (int i = 0; i <= (keys - 1) / c->size; i++) {
            int32_t block = c->tables[(int64_t)row * c->blocks + i];
            if (block < 0 || block >= blocks) return 3;
        }
    }
    return 0;
}

int step(const Stack *s, const Call *c) {
    Shared shared;
    int reason = wrong(s, c);
    if (reason) return reason;
    lay(s, c, &shared);
#pragma omp parallel num_threads(c->threads)
    {
        Own own;
        int first, end;
        lay_own(s, c, &own, omp_get_thread_num(), omp_get_num_threads());
        share(&own, c->rows, &first, &end);
        for (int row = first; row < end; row++) enter(s, c, row, shared.x + (int64_t)row * s->model);
#pragma omp barrier
        for (int number = 0; number < s->layers; number++) block(s, c, &own, &shared, number);
        score(s, c, &own, &shared);
    }
    return 0;
}

/* ---- the parts alone ---- */

int64_t product_bytes(const Matrix *map, int rows, int threads) {
    return threads * whole(given_bytes(rows, (map->in + BLOCK - 1) / BLOCK * BLOCK));
}

void product(const Matrix *map, const float *x, int rows, float *y, int threads, char *room) {
#pragma omp parallel num_threads(threads)
    {
        Own own = {.number = omp_get_thread_num(), .of = omp_get_num_threads()};
        int width = (map->in + BLOCK - 1) / BLOCK * BLOCK;
        given_at(&own.given, room + own.number * whole(given_bytes(rows, width)), rows, width);
        give(&own.given, &map, 1, x, map->in, rows);
        multiply(&own, &map, 1, y, map->out, 0);
    }
}

void attend_all(const Paged *pages, int rows, const float *q, float *out, int threads, float *room) {
    int64_t group = (int64_t)pages->heads / pages->kv_heads * pages->head, each = (attend_floats(pages) + 15) / 16 * 16;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int one = 0; one < rows * pages->kv_heads; one++)
        attend(pages, one / pages->kv_heads, one % pages->kv_heads, q + one * group, out + one * group,
               room + omp_get_thread_num() * each);
}

/* What the vectors of this build are, for those who ask. */
const char *vector(void) {
#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
    return "AVX512 VNNI";
#elif defined(__AVX512F__)
    return "AVX512";
#elif defined(__AVX2__) && defined(__FMA__)
    return "AVX2";
#else
    return "portable";
#endif
}

/* 0 if a small product of every kind is right here. */
int probe(void) {
    static float x[64], full[PANEL * 64], y[PANEL], scales[PANEL];
    static uint16_t half[PANEL * 64];
    static int8_t eight[PANEL * 64];
    static uint8_t four[PANEL * 32];
    static char room[1 << 14];
    int wrong = 0;
    for (int i = 0; i < 64; i++) x[i] = 1;
    for (int i = 0; i < PANEL; i++) scales[i] = 1;
    for (int i = 0; i < PANEL * 64; i++) full[i] = 2, half[i] = narrow(2), eight[i] = 2;
    for (int i = 0; i < PANEL * 32; i++) four[i] = 10 << 4 | 10;
    const void *data[] = {full, half, eight, four};
    for (int kind = FP32; kind <= INT4; kind++) {
        Matrix map = {kind, PANEL, 64, 64, 0, BLOCKS, data[kind], scales, 0, 0};
        product(&map, x, 1, y, 1, room);
        for (int i = 0; i < PANEL; i++) wrong += fabsf(y[i] - 128) > 0.01f;
    }
    return wrong ? 1 : 0;
}
