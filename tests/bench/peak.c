/* What one core can do: multiply-accumulates a second from registers, int8 and f32, in GMAC/s.
   Nothing is loaded or stored, so that no network can be faster by direct convolution. */
#include <stdio.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

/* Twelve sums, so that none waits for its own last addition. */
#define TWELVE(F, r) F(r "0") F(r "1") F(r "2") F(r "3") F(r "4") F(r "5") \
                     F(r "6") F(r "7") F(r "8") F(r "9") F(r "10") F(r "11")
#define F32_Y(r) "vfmadd231ps %%ymm14, %%ymm15, " r "\n"
#define F32_Z(r) "vfmadd231ps %%zmm14, %%zmm15, " r "\n"
#define VNNI_Z(r) "vpdpbusd %%zmm14, %%zmm15, " r "\n"
/* Without VNNI: products in pairs (16 bits), pairs in pairs (32 bits), sum. */
#define INT8_Y(r, w) "vpmaddubsw %%ymm14, %%ymm15, " w "\n vpmaddwd %%ymm13, " w ", " w \
                     "\n vpaddd " w ", " r ", " r "\n"
#define RUN(what, macs, body) do { \
        double started = now(); \
        for (long k = 0; k < rounds; k++) asm volatile(body ::: CLOBBERED); \
        printf("%s %.2f\n", what, rounds * (double)(macs) / (now() - started) / 1e9); \
    } while (0)
#define CLOBBERED "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", \
                  "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

int main(void) {
    const long rounds = 30000000;
    asm volatile("vzeroall" ::: CLOBBERED);
    if (__builtin_cpu_supports("avx512f"))
        RUN("f32", 12 * 16, TWELVE(F32_Z, "%%zmm"));
    else
        RUN("f32", 12 * 8, TWELVE(F32_Y, "%%ymm"));
    if (__builtin_cpu_supports("avx512vnni"))
        RUN("int8", 12 * 64, TWELVE(VNNI_Z, "%%zmm"));
    else
        RUN("int8", 8 * 32,
            INT8_Y("%%ymm0", "%%ymm8") INT8_Y("%%ymm1", "%%ymm9")
            INT8_Y("%%ymm2", "%%ymm10") INT8_Y("%%ymm3", "%%ymm11")
            INT8_Y("%%ymm4", "%%ymm12") INT8_Y("%%ymm5", "%%ymm8")
            INT8_Y("%%ymm6", "%%ymm9") INT8_Y("%%ymm7", "%%ymm10"));
    return 0;
}
