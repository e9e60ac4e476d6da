/* What one core can do: multiply-accumulates a second from registers, in GMAC/s, one line for each
   kind of number: "int8 AMX 1400.0". Nothing is loaded or stored in the loops, so that no network
   can be faster by direct convolution. The widest instructions that the processor has, and that the
   system lets a process use, are measured.

   "int8 AMX-fed" is the same with operands that come from the second cache, as those of a convolution
   do: AMX multiplies faster than that cache can feed it, so that the first figure is out of reach. */
#include <cpuid.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Of this thread: what others do on the machine does not lower what a core can do. */
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

/* Twelve sums, so that none waits for its own last addition. */
#define TWELVE(F, r) F(r "0") F(r "1") F(r "2") F(r "3") F(r "4") F(r "5") \
                     F(r "6") F(r "7") F(r "8") F(r "9") F(r "10") F(r "11")
#define F32_Y(r) "vfmadd231ps %%ymm14, %%ymm15, " r "\n"
#define F32_Z(r) "vfmadd231ps %%zmm14, %%zmm15, " r "\n"
#define VNNI_Y(r) "%{vex%} vpdpbusd %%ymm14, %%ymm15, " r "\n"
#define VNNI_Z(r) "vpdpbusd %%zmm14, %%zmm15, " r "\n"
#define BF16_Z(r) "vdpbf16ps %%zmm14, %%zmm15, " r "\n"
/* Without VNNI: products in pairs (16 bits), pairs in pairs (32 bits), sum. */
#define INT8_Y(r, w) "vpmaddubsw %%ymm14, %%ymm15, " w "\n vpmaddwd %%ymm13, " w ", " w \
                     "\n vpaddd " w ", " r ", " r "\n"
/* Four sums of 16 x 16 from two tiles on either side, as a product of matrices is made. */
#define AMX(op) op " %%tmm6, %%tmm4, %%tmm0\n" op " %%tmm7, %%tmm4, %%tmm1\n" \
                op " %%tmm6, %%tmm5, %%tmm2\n" op " %%tmm7, %%tmm5, %%tmm3\n"
#define RUN(what, macs, rounds, body) do { \
        double started = now(); \
        for (long k = 0; k < (rounds); k++) asm volatile(body ::: CLOBBERED); \
        printf("%s %.2f\n", what, (rounds) * (double)(macs) / (now() - started) / 1e9); \
    } while (0)
/* The same, each tile loaded anew: left from %0, right from %1, 64 bytes a row. */
#define FED(op) "tileloadd 0(%0,%2,1), %%tmm4\n tileloadd 0(%1,%2,1), %%tmm6\n" \
                "tileloadd 1024(%0,%2,1), %%tmm5\n tileloadd 1024(%1,%2,1), %%tmm7\n" AMX(op)
#define CLOBBERED "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", \
                  "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };

/* CPUID leaf 7: AMX-TILE, AMX-INT8 and AMX-BF16 in EDX of subleaf 0; in EAX of subleaf 1 AVX-VNNI
   and AVX512-BF16. */
static unsigned feature(unsigned subleaf, int want_edx, int bit) {
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, subleaf, &a, &b, &c, &d)) return 0;
    return ((want_edx ? d : a) >> bit) & 1;
}

/* Whether tiles can be used: Linux gives their state to a process that asks for it. */
static int tiles_ready(void) {
    static const struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t bytes_per_row[16];
        uint8_t rows[16];
    } shape = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    if (!feature(0, 1, 24) || syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA))
        return 0;
    asm volatile("ldtilecfg %0\n tilezero %%tmm0\n tilezero %%tmm1\n tilezero %%tmm2\n"
                 "tilezero %%tmm3\n tilezero %%tmm4\n tilezero %%tmm5\n tilezero %%tmm6\n"
                 "tilezero %%tmm7\n" :: "m"(shape));
    return 1;
}

/* Both operands in half of the second cache: a block of weights used again by every row. */
static void run_fed(long rounds) {
    enum { HALF = 512 * 1024 };
    static uint8_t memory[2 * HALF] __attribute__((aligned(64)));
    double started;
    memset(memory, 1, sizeof memory);
    started = now();
    for (long k = 0; k < rounds; k++) {
        const uint8_t *left = memory + (k * 2048) % HALF, *right = memory + HALF + (k * 2048) % HALF;
        asm volatile(FED("tdpbusd") :: "r"(left), "r"(right), "r"(64L) : "memory");
    }
    printf("int8 AMX-fed %.2f\n", rounds * 4.0 * 16 * 16 * 64 / (now() - started) / 1e9);
}

int main(void) {
    const long rounds = 30000000, tiled = 4000000;
    const int avx512 = __builtin_cpu_supports("avx512f"), tiles = tiles_ready();
    asm volatile("vzeroall" ::: CLOBBERED);
    if (avx512)
        RUN("f32 AVX-512", 12 * 16, rounds, TWELVE(F32_Z, "%%zmm"));
    else
        RUN("f32 AVX2", 12 * 8, rounds, TWELVE(F32_Y, "%%ymm"));

    if (tiles && feature(0, 1, 22))
        RUN("bf16 AMX", 4 * 16 * 16 * 32, tiled, AMX("tdpbf16ps"));
    else if (avx512 && feature(1, 0, 5))
        RUN("bf16 AVX-512", 12 * 32, rounds, TWELVE(BF16_Z, "%%zmm"));

    if (tiles && feature(0, 1, 25))
        { RUN("int8 AMX", 4 * 16 * 16 * 64, tiled, AMX("tdpbusd")); run_fed(tiled); }
    if (__builtin_cpu_supports("avx512vnni"))
        RUN("int8 VNNI", 12 * 64, rounds, TWELVE(VNNI_Z, "%%zmm"));
    else if (feature(1, 0, 4))
        RUN("int8 AVX-VNNI", 12 * 32, rounds, TWELVE(VNNI_Y, "%%ymm"));
    else
        RUN("int8 AVX2", 8 * 32, rounds,
            INT8_Y("%%ymm0", "%%ymm8") INT8_Y("%%ymm1", "%%ymm9")
            INT8_Y("%%ymm2", "%%ymm10") INT8_Y("%%ymm3", "%%ymm11")
            INT8_Y("%%ymm4", "%%ymm12") INT8_Y("%%ymm5", "%%ymm8")
            INT8_Y("%%ymm6", "%%ymm9") INT8_Y("%%ymm7", "%%ymm10"));
    if (tiles) asm volatile("tilerelease");
    return 0;
}
