/* Vectors of floats as wide as the machine has them; every sum has one order, whatever is computed beside it. */
#pragma once
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
#if defined(__AVX2__)
#define EACH(i, count) _Pragma("GCC unroll 16") for (int i = 0; i < (count); i++)
#else
#define EACH(i, count) for (int i = 0; i < (count); i++)
#endif
#define INLINE static inline __attribute__((always_inline))

typedef float F __attribute__((vector_size(4 * LANES)));
typedef int32_t I __attribute__((vector_size(4 * LANES)));
typedef uint32_t U __attribute__((vector_size(4 * LANES)));
typedef uint16_t H __attribute__((vector_size(2 * LANES)));

INLINE F load(const float *p) {
    F v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE I load_int(const int32_t *p) {
    I v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE void store(float *p, F v) { memcpy(p, &v, sizeof v); }

INLINE F all(float x) { return x - (F){0}; }

/* a * b + c, rounded once where the machine can */
INLINE F madd(F a, F b, F c) {
#if defined(__AVX512F__)
    return (F)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
    return (F)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

INLINE F floats(I v) { return __builtin_convertvector(v, F); }
INLINE F bits(U v) { return (F)v; }

INLINE F larger(F a, F b) {
#if defined(__AVX512F__)
    return (F)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX__)
    return (F)_mm256_max_ps((__m256)a, (__m256)b);
#else
    I over = a > b;
    return (F)(((I)a & over) | ((I)b & ~over));
#endif
}

/* The sum of the lanes, halves onto halves. */
INLINE float total(F v) {
#if defined(__AVX__) && !defined(__AVX512F__)
    __m128 a = _mm_add_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
    a = _mm_add_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_add_ss(a, _mm_shuffle_ps(a, a, 1)));
#else
    float a[LANES];
    memcpy(a, &v, sizeof v);
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++) a[i] += a[i + half];
    return a[0];
#endif
}

/* Four such sums. */
INLINE void totals(F a, F b, F c, F d, float *to) {
#if defined(__AVX__) && !defined(__AVX512F__)
    __m256 ab = _mm256_hadd_ps((__m256)a, (__m256)b), cd = _mm256_hadd_ps((__m256)c, (__m256)d);
    __m256 all = _mm256_hadd_ps(ab, cd);
    _mm_storeu_ps(to, _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1)));
#else
    to[0] = total(a), to[1] = total(b), to[2] = total(c), to[3] = total(d);
#endif
}

INLINE float largest(F v) {
    float a[LANES], most;
    memcpy(a, &v, sizeof v);
    most = a[0];
    for (int i = 1; i < LANES; i++) most = a[i] > most ? a[i] : most;
    return most;
}

/* e^x by its polynomial around the nearest power of two; 0 far below. */
INLINE F exponential(F x) {
    F bounded = larger(x, all(-87.0f));
    F n = (bounded * 1.44269504f + 12582912.0f) - 12582912.0f;
    F r = madd(n, all(-0.693359375f), bounded);
    r = madd(n, all(2.12194440e-4f), r);
    F p = all(1.9875691500e-4f);
    p = madd(p, r, all(1.3981999507e-3f));
    p = madd(p, r, all(8.3334519073e-3f));
    p = madd(p, r, all(4.1665795894e-2f));
    p = madd(p, r, all(1.6666665459e-1f));
    p = madd(p, r, all(5.0000001201e-1f));
    p = madd(p, r * r, r) + 1.0f;
    I power = (__builtin_convertvector(n, I) + 127) << 23;
    return (F)((I)(p * (F)power) & (x > -87.0f));
}

/* LANES numbers of bf16 */
INLINE F load_bf16(const uint16_t *p) {
    H halves;
    memcpy(&halves, p, sizeof halves);
    return bits(__builtin_convertvector(halves, U) << 16);
}

INLINE float wide(uint16_t half) {
    uint32_t word = (uint32_t)half << 16;
    float value;
    memcpy(&value, &word, 4);
    return value;
}

/* fp32 as bf16, to the nearest, halfway to even */
INLINE uint16_t narrow(float value) {
    uint32_t word;
    memcpy(&word, &value, 4);
    if ((word & 0x7fffffff) > 0x7f800000) return (uint16_t)(word >> 16) | 64;
    return (uint16_t)((word + 0x7fff + ((word >> 16) & 1)) >> 16);
}

/* IEEE half precision as fp32 */
INLINE float of_half(uint16_t half) {
    _Float16 value;
    memcpy(&value, &half, 2);
    return (float)value;
}
