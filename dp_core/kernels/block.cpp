// What stands between two convolutions (norm, activation, 2x2 pooling), forward and backward, in one pass each over
// images in channels-last memory. An image's activations stay in the core's own cache between the statistics and their
// use, nothing but the input and the pooled output touches memory, and the gradient overwrites the input it is of.
//
// Plain C++ with GCC/Clang vector types, compiled on the user's machine for its CPU; see build.py and block.py, which
// holds the counterpart of `Call`. Results do not depend on the number of threads, but for the gradients of a norm with
// one weight per element (LayerNorm over [C, H, W]), which are summed thread by thread.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#ifdef _OPENMP
#include <omp.h>
#else
static int omp_get_thread_num() { return 0; }
#endif

namespace {

// Vectors of 16 floats on every CPU: the compiler splits them where registers are narrower. They only pass between
// functions that are inlined, so GCC's notes on the ABI of such arguments (-Wpsabi) do not matter.
constexpr int LANES = 16;
constexpr int64_t RUN = 32;  // pixels that are summed before they enter a larger sum
typedef float Vec __attribute__((vector_size(64)));
typedef uint32_t Bits __attribute__((vector_size(64)));
typedef int32_t Truth __attribute__((vector_size(64)));
typedef uint16_t Halves __attribute__((vector_size(32)));

struct Bf16 {
    uint16_t bits;
};

enum Norm { NONE = 0, GROUPS = 1, BATCH = 2, ELEMENTWISE = 3, FIXED = 4 };
enum Pool { WHOLE = 0, MAX = 1, AVERAGE = 2 };

struct Call {
    int64_t images, height, width, channels;
    int32_t bfloat16, norm, groups, pool, sigmoid, threads;
    float slope, eps;
    const void* input;   // [N, H, W, C]
    void* output;        // [N, H / pooled, W / pooled, C]
    const float* gamma;  // [C], or [H, W, C] for ELEMENTWISE
    const float* beta;
    float* mean;      // [N, C], or [C] for BATCH and FIXED; null for NONE
    float* rstd;      // the same
    float* variance;  // [C], BATCH only
    const void* output_gradient;
    void* input_gradient;  // may be the input itself
    float* sums;           // [3, N, C]: what the gradients below are reduced from
    float* gamma_gradient;
    float* beta_gradient;
    float* bias_gradient;  // [C], of the convolution before: the sum of the input's gradient
    float* elements;       // [threads, 2, H, W, C], zeros, ELEMENTWISE only
};

inline Vec splat(float x) { return x - Vec{}; }

// The channels that one sweep over the pixels takes: V vectors, the last of them of `count` lanes if PART. All tensors
// are read and written through memcpy, which makes alignment and aliasing the compiler's business and costs nothing.
template <int V, bool PART>
struct Lanes {
    int count;

    inline Vec load(const float* p, int v) const {
        Vec x{};
        std::memcpy(&x, p + v * LANES, PART ? count * sizeof(float) : sizeof(Vec));
        return x;
    }
    inline void store(float* p, int v, Vec x) const {
        std::memcpy(p + v * LANES, &x, PART ? count * sizeof(float) : sizeof(Vec));
    }
    inline Vec load(const Bf16* p, int v) const {
        Halves h{};
        std::memcpy(&h, p + v * LANES, PART ? count * sizeof(Bf16) : sizeof(Halves));
        return (Vec)(__builtin_convertvector(h, Bits) << 16);
    }
    inline void store(Bf16* p, int v, Vec x) const {
        // To nearest, ties to even.
#ifdef __AVX512BF16__
        __m256bh h = _mm512_cvtneps_pbh((__m512)x);  // denormal numbers become zeros
#else
        Bits u = (Bits)x;
        Bits rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
        Bits nan = (Bits)(Truth)(x != x);
        Halves h = __builtin_convertvector((rounded & ~nan) | (0x7fc0 & nan), Halves);
#endif
        std::memcpy(p + v * LANES, &h, PART ? count * sizeof(Bf16) : sizeof(Halves));
    }
};

// exp(x) by 2^n p(r), relative error below 3e-7; x is clamped to where float has a result, NaN to 88: as an integer it
// would be undefined.
inline Vec exponential(Vec x) {
    x = x < 88.0f ? x : splat(88.0f);
    x = x > -87.0f ? x : splat(-87.0f);
    Vec t = x * 1.44269504f;
    Truth n = __builtin_convertvector(t + (t < 0.0f ? splat(-0.5f) : splat(0.5f)), Truth);
    Vec k = __builtin_convertvector(n, Vec);
    Vec r = x - k * 0.693359375f + k * 2.12194440e-4f;
    Vec p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * (Vec)((n + 127) << 23);
}

// ReLU, or any of them, which is looked up again and again.
enum Shape { ANY = 0, RELU = 1 };

// What is known of a call when this file is compiled.
template <class T, int POOL, int SHAPE>
struct Kind {};

template <int SHAPE>
struct Activation {
    bool sigmoid;
    float slope;  // of the negative side, unless it is a sigmoid: 1 for no activation

    inline Vec value(Vec u) const {
        if (SHAPE == ANY && sigmoid) {
            Vec s = 1.0f / (1.0f + exponential(-u));
            return u != u ? u : s;
        }
        if (SHAPE == RELU) return u <= 0.0f ? Vec{} : u;  // not u * 0, which is NaN at -inf
        return u > 0.0f ? u : u * slope;
    }
    // The gradient in u of what has the gradient `g` in value(u).
    inline Vec gradient(Vec u, Vec g) const {
        if (SHAPE == ANY && sigmoid) {
            Vec s = value(u);
            return g * (s * (1.0f - s));
        }
        if (SHAPE == RELU) return u > 0.0f ? g : Vec{};
        return u > 0.0f ? g : g * slope;
    }
};

// What turns the input into the activation's argument: u = x * scale + shift, and for ELEMENTWISE then * gamma + beta.
template <int V>
struct Affine {
    Vec scale[V], shift[V];
    const float* gamma;  // at this sweep's channels, or null
    const float* beta;
    int64_t channels;

    template <class L>
    inline Vec operator()(const L& lanes, Vec x, int v, int64_t pixel) const {
        Vec u = x * scale[v] + shift[v];
        if (gamma == nullptr) return u;
        return u * lanes.load(gamma + pixel * channels, v) + lanes.load(beta + pixel * channels, v);
    }
};

// The gradient of the loss in the activation's argument, for the pixels of one pooling window.
template <int POOL, int SHAPE, class Visit, class L, class T, int V>
inline void window_gradient(const Call& call, const L& lanes, const Activation<SHAPE>& act, const Affine<V>& affine, int v,
                            const int64_t* pixels, const T* input, Vec gz, const Visit& visit) {
    constexpr int SIZE = POOL == WHOLE ? 1 : 4;
    Vec x[SIZE], u[SIZE];
    for (int i = 0; i < SIZE; i++) {
        x[i] = lanes.load(input + pixels[i] * call.channels, v);
        u[i] = affine(lanes, x[i], v, pixels[i]);
    }
    if (POOL == AVERAGE) gz *= 0.25f;
    if (POOL == MAX) {
        Vec top = u[0];
        for (int i = 1; i < SIZE; i++) top = u[i] > top ? u[i] : top;
        Vec g = act.gradient(top, gz);
        Truth open = ~Truth{};  // the first of equal maxima takes the gradient, as in torch
        for (int i = 0; i < SIZE; i++) {
            Truth chosen = (u[i] == top) & open;
            open &= ~chosen;
            visit(i, x[i], (Vec)((Truth)g & chosen));
        }
    } else {
        for (int i = 0; i < SIZE; i++)
            visit(i, x[i], act.gradient(u[i], gz));
    }
}

// An image is gone through in chunks that fit the fastest cache, all channels of one before the next, so that memory is
// read in order: a row of pooling windows or, without pooling, RUN pixels.
template <int POOL>
inline int64_t chunks(const Call& call) {
    return POOL == WHOLE ? (call.height * call.width + RUN - 1) / RUN : call.height / 2;
}

// Calls `body(pixels of the window, index of the output pixel)` for the windows of a chunk.
template <int POOL, class Body>
inline void for_windows(const Call& call, int64_t chunk, const Body& body) {
    int64_t h = call.height, w = call.width;
    if (POOL == WHOLE) {
        int64_t end = std::min((chunk + 1) * RUN, h * w);
        for (int64_t p = chunk * RUN; p < end; p++) body(&p, p);
        return;
    }
    for (int64_t j = 0; j < w / 2; j++) {
        int64_t p = 2 * chunk * w + 2 * j;
        int64_t pixels[4] = {p, p + 1, p + w, p + w + 1};
        body(pixels, chunk * (w / 2) + j);
    }
}

// Calls `body(pixel)` for what no window covers: the last column and row of sides that are odd.
template <int POOL, class Body>
inline void for_rest(const Call& call, const Body& body) {
    int64_t h = call.height, w = call.width;
    if (POOL == WHOLE) return;
    if (w % 2)
        for (int64_t i = 0; i < h; i++) body(i * w + w - 1);
    if (h % 2)
        for (int64_t j = 0; j < w - w % 2; j++) body((h - 1) * w + j);
}

// Calls `body(lanes, first channel)` for sweeps of 64, 32, 16 channels and the rest.
template <class Body>
inline void for_channels(int64_t channels, const Body& body) {
    int64_t c = 0;
    for (; channels - c >= 4 * LANES; c += 4 * LANES) body(Lanes<4, false>{LANES}, c);
    if (channels - c >= 2 * LANES) {
        body(Lanes<2, false>{LANES}, c);
        c += 2 * LANES;
    }
    if (channels - c >= LANES) {
        body(Lanes<1, false>{LANES}, c);
        c += LANES;
    }
    if (c < channels) body(Lanes<1, true>{(int)(channels - c)}, c);
}

template <int V, bool PART>
constexpr int vectors(const Lanes<V, PART>&) { return V; }

// Mean of each channel of one image, and the sum of squares around it: those of runs of pixels, joined two by two (Chan,
// Golub & LeVeque 1979), which is as accurate as two passes and reads the memory once.
template <class T>
void image_statistics(const Call& call, const T* input, float* mean, float* squares) {
    int64_t pixels = call.height * call.width, channels = call.channels;
    for (int64_t start = 0; start < pixels; start += RUN) {
        const int64_t end = std::min(start + RUN, pixels);
        const float size = (float)(end - start), share = size / end;
        for_channels(channels, [&](auto lanes, int64_t c) {
            constexpr int V = vectors(decltype(lanes){});
            Vec own[V] = {}, centred[V] = {};
            for (int64_t p = start; p < end; p++)
                for (int v = 0; v < V; v++) own[v] += lanes.load(input + p * channels + c, v);
            for (int v = 0; v < V; v++) own[v] /= size;
            for (int64_t p = start; p < end; p++)
                for (int v = 0; v < V; v++) {
                    Vec d = lanes.load(input + p * channels + c, v) - own[v];
                    centred[v] += d * d;
                }
            for (int v = 0; v < V; v++) {
                Vec before = start == 0 ? own[v] : lanes.load(mean + c, v), step = own[v] - before;
                Vec so_far = start == 0 ? Vec{} : lanes.load(squares + c, v);
                lanes.store(mean + c, v, before + step * share);
                lanes.store(squares + c, v, so_far + centred[v] + step * step * (start * share));
            }
        });
    }
}

// Turns statistics of single channels into those of their groups, written to every channel of the group.
void group_statistics(const Call& call, float* mean, float* rstd_from_squares) {
    int64_t size = call.channels / call.groups, pixels = call.height * call.width;
    for (int64_t g = 0; g < call.groups; g++) {
        float *m = mean + g * size, *r = rstd_from_squares + g * size;
        double centre = 0, squares = 0;
        for (int64_t i = 0; i < size; i++) centre += m[i];
        centre /= size;
        for (int64_t i = 0; i < size; i++) squares += r[i] + pixels * (m[i] - centre) * (m[i] - centre);
        float rstd = (float)(1 / std::sqrt(squares / (size * pixels) + call.eps));
        for (int64_t i = 0; i < size; i++) m[i] = (float)centre, r[i] = rstd;
    }
}

void batch_statistics(const Call& call, const float* means, const float* squares) {
    int64_t pixels = call.height * call.width, channels = call.channels, images = call.images;
    for (int64_t c = 0; c < channels; c++) {
        double centre = 0, sum = 0;
        for (int64_t n = 0; n < images; n++) centre += means[n * channels + c];
        centre /= images;
        for (int64_t n = 0; n < images; n++) {
            double d = means[n * channels + c] - centre;
            sum += squares[n * channels + c] + pixels * d * d;
        }
        call.mean[c] = (float)centre;
        call.variance[c] = (float)(sum / (images * pixels));
        call.rstd[c] = (float)(1 / std::sqrt(sum / (images * pixels) + call.eps));
    }
}

template <class L, int V = vectors(L{})>
inline Affine<V> affine_at(const Call& call, const L& lanes, const float* mean, const float* rstd, int64_t c) {
    Affine<V> affine{};
    affine.channels = call.channels;
    for (int v = 0; v < V; v++) {
        if (call.norm == NONE) {
            affine.scale[v] = splat(1.0f);
            continue;
        }
        affine.scale[v] = lanes.load(rstd + c, v);
        affine.shift[v] = -lanes.load(mean + c, v) * affine.scale[v];
        if (call.norm == ELEMENTWISE || call.gamma == nullptr) continue;
        Vec gamma = lanes.load(call.gamma + c, v);
        affine.scale[v] *= gamma;
        affine.shift[v] = affine.shift[v] * gamma + lanes.load(call.beta + c, v);
    }
    if (call.norm == ELEMENTWISE && call.gamma != nullptr) affine.gamma = call.gamma + c, affine.beta = call.beta + c;
    return affine;
}

template <class T, int POOL, int SHAPE>
void image_output(const Call& call, const T* input, T* output, const float* mean, const float* rstd) {
    const Activation<SHAPE> act{call.sigmoid != 0, call.slope};
    for (int64_t chunk = 0; chunk < chunks<POOL>(call); chunk++)
        for_channels(call.channels, [&](auto lanes, int64_t c) {
            constexpr int V = vectors(decltype(lanes){});
            const auto affine = affine_at(call, lanes, mean, rstd, c);
            for_windows<POOL>(call, chunk, [&](const int64_t* pixels, int64_t out) {
                for (int v = 0; v < V; v++) {
                    Vec z{};
                    for (int i = 0; i < (POOL == WHOLE ? 1 : 4); i++) {
                        Vec u = affine(lanes, lanes.load(input + pixels[i] * call.channels + c, v), v, pixels[i]);
                        if (POOL == MAX)
                            z = (i == 0) ? u : (u > z ? u : (z != z ? z : (u != u ? u : z)));
                        else
                            z += act.value(u);
                    }
                    if (POOL == MAX) z = act.value(z);
                    if (POOL == AVERAGE) z *= 0.25f;
                    lanes.store(output + out * call.channels + c, v, z);
                }
            });
        });
}

template <class T, int POOL, int SHAPE>
void forward(const Call& call, Kind<T, POOL, SHAPE>) {
    int64_t in = call.height * call.width * call.channels;
    int64_t out = POOL == WHOLE ? in : (call.height / 2) * (call.width / 2) * call.channels;
    const T* input = (const T*)call.input;
    T* output = (T*)call.output;
    const bool one_image = call.norm == GROUPS || call.norm == ELEMENTWISE;
    if (call.norm == BATCH) {
        std::vector<float> means(call.images * call.channels), squares(call.images * call.channels);
#pragma omp parallel for num_threads(call.threads) schedule(static)
        for (int64_t n = 0; n < call.images; n++)
            image_statistics(call, input + n * in, &means[n * call.channels], &squares[n * call.channels]);
        batch_statistics(call, means.data(), squares.data());
    }
#pragma omp parallel for num_threads(call.threads) schedule(static)
    for (int64_t n = 0; n < call.images; n++) {
        int64_t row = one_image ? n * call.channels : 0;
        float *mean = call.mean + row, *rstd = call.rstd + row;
        if (one_image) {
            image_statistics(call, input + n * in, mean, rstd);
            group_statistics(call, mean, rstd);
        }
        image_output<T, POOL, SHAPE>(call, input + n * in, output + n * out, mean, rstd);
    }
}

// Sums over the pixels of one image, channel by channel: of du and of du * normalised input, where du is the gradient
// in the activation's argument (ELEMENTWISE: times gamma; the gradients of gamma and beta go to `elements`).
template <class T, int POOL, int SHAPE>
void image_sums(const Call& call, const T* input, const T* gz, const float* mean, const float* rstd, float* first,
                float* second, float* elements) {
    const Activation<SHAPE> act{call.sigmoid != 0, call.slope};
    const int64_t size = call.height * call.width * call.channels;
    for (int64_t chunk = 0; chunk < chunks<POOL>(call); chunk++)
        for_channels(call.channels, [&](auto lanes, int64_t c) {
            constexpr int V = vectors(decltype(lanes){});
            const auto affine = affine_at(call, lanes, mean, rstd, c);
            Vec a[V] = {}, b[V] = {}, inverse[V], offset[V];
            for (int v = 0; v < V; v++) {
                inverse[v] = lanes.load(rstd + c, v);
                offset[v] = -lanes.load(mean + c, v) * inverse[v];
            }
            for_windows<POOL>(call, chunk, [&](const int64_t* pixels, int64_t out) {
                for (int v = 0; v < V; v++)
                    window_gradient<POOL>(call, lanes, act, affine, v, pixels, input + c,
                                          lanes.load(gz + out * call.channels + c, v), [&](int i, Vec x, Vec du) {
                                              Vec normal = x * inverse[v] + offset[v];
                                              if (affine.gamma != nullptr) {
                                                  int64_t at = pixels[i] * call.channels;
                                                  float *dgamma = elements + at + c, *dbeta = dgamma + size;
                                                  lanes.store(dgamma, v, lanes.load(dgamma, v) + du * normal);
                                                  lanes.store(dbeta, v, lanes.load(dbeta, v) + du);
                                                  du = du * lanes.load(affine.gamma + at, v);
                                              }
                                              a[v] += du;
                                              b[v] += du * normal;
                                          });
            });
            for (int v = 0; v < V; v++) {
                lanes.store(first + c, v, chunk == 0 ? a[v] : lanes.load(first + c, v) + a[v]);
                lanes.store(second + c, v, chunk == 0 ? b[v] : lanes.load(second + c, v) + b[v]);
            }
        });
}

// Turns the sums of one image (or batch) into the mean gradients of each norm group, with gamma: what the norm's
// backward subtracts. `count` is the number of elements that one channel gives to the group.
void group_means(const Call& call, const float* first, const float* second, int64_t groups, int64_t count, float* out1,
                 float* out2) {
    int64_t size = call.channels / groups;
    for (int64_t g = 0; g < groups; g++) {
        double a = 0, b = 0;
        for (int64_t c = g * size; c < (g + 1) * size; c++) {
            float gamma = call.norm == ELEMENTWISE || call.gamma == nullptr ? 1.0f : call.gamma[c];
            a += gamma * first[c];
            b += gamma * second[c];
        }
        for (int64_t c = g * size; c < (g + 1) * size; c++)
            out1[c] = (float)(a / (size * count)), out2[c] = (float)(b / (size * count));
    }
}

// Writes the gradient in the input, rstd * (gamma * du - mean1 - normalised input * mean2), and its sum over the
// pixels. It may take the place of the input: a window is read before it is written.
template <class T, int POOL, int SHAPE>
void image_gradient(const Call& call, const T* input, const T* gz, T* gradient, const float* mean, const float* rstd,
                    const float* mean1, const float* mean2, float* total) {
    const Activation<SHAPE> act{call.sigmoid != 0, call.slope};
    const bool centred = call.norm != NONE && call.norm != FIXED;
    const int64_t last = chunks<POOL>(call) - 1;
    for (int64_t chunk = 0; chunk <= last; chunk++)
        for_channels(call.channels, [&](auto lanes, int64_t c) {
            constexpr int V = vectors(decltype(lanes){});
            const auto affine = affine_at(call, lanes, mean, rstd, c);
            Vec sum[V] = {}, minus[V] = {}, slope[V] = {};  // gradient = scale * du, if centred + minus + slope * x
            for (int v = 0; centred && v < V; v++) {
                Vec inverse = lanes.load(rstd + c, v), k = inverse * lanes.load(mean2 + c, v);
                minus[v] = k * inverse * lanes.load(mean + c, v) - inverse * lanes.load(mean1 + c, v);
                slope[v] = -k * inverse;
            }
            for_windows<POOL>(call, chunk, [&](const int64_t* pixels, int64_t out) {
                for (int v = 0; v < V; v++)
                    window_gradient<POOL>(call, lanes, act, affine, v, pixels, input + c,
                                          lanes.load(gz + out * call.channels + c, v), [&](int i, Vec x, Vec du) {
                                              int64_t at = pixels[i] * call.channels;
                                              if (affine.gamma != nullptr) du = du * lanes.load(affine.gamma + at, v);
                                              Vec dx = affine.scale[v] * du;
                                              if (centred) dx = dx + minus[v] + slope[v] * x;
                                              lanes.store(gradient + at + c, v, dx);
                                              sum[v] += dx;
                                          });
            });
            if (chunk == last)
                for_rest<POOL>(call, [&](int64_t pixel) {
                    for (int v = 0; v < V; v++) {
                        Vec dx{};
                        if (centred) dx = minus[v] + slope[v] * lanes.load(input + pixel * call.channels + c, v);
                        lanes.store(gradient + pixel * call.channels + c, v, dx);
                        sum[v] += dx;
                    }
                });
            for (int v = 0; v < V; v++)
                lanes.store(total + c, v, chunk == 0 ? sum[v] : lanes.load(total + c, v) + sum[v]);
        });
}

void sum_over_images(const Call& call, const float* rows, float* out) {
    if (out == nullptr) return;
    std::vector<double> total(call.channels);
    for (int64_t n = 0; n < call.images; n++)
        for (int64_t c = 0; c < call.channels; c++) total[c] += rows[n * call.channels + c];
    for (int64_t c = 0; c < call.channels; c++) out[c] = (float)total[c];
}

template <class T, int POOL, int SHAPE>
void backward(const Call& call, Kind<T, POOL, SHAPE>) {
    int64_t channels = call.channels, pixels = call.height * call.width, in = pixels * channels;
    int64_t out = POOL == WHOLE ? in : (call.height / 2) * (call.width / 2) * channels;
    const T *input = (const T*)call.input, *gz = (const T*)call.output_gradient;
    T* gradient = (T*)call.input_gradient;
    const bool one_image = call.norm == GROUPS || call.norm == ELEMENTWISE;
    float *first = call.sums, *second = first + call.images * channels, *total = second + call.images * channels;
    std::vector<float> batch1(channels), batch2(channels);
    if (call.norm == BATCH || (call.norm == FIXED && call.gamma_gradient != nullptr)) {
#pragma omp parallel for num_threads(call.threads) schedule(static)
        for (int64_t n = 0; n < call.images; n++)
            image_sums<T, POOL, SHAPE>(call, input + n * in, gz + n * out, call.mean, call.rstd, first + n * channels,
                                second + n * channels, nullptr);
    }
    if (call.norm == BATCH) {
        sum_over_images(call, first, batch1.data());
        sum_over_images(call, second, batch2.data());
        group_means(call, batch1.data(), batch2.data(), channels, pixels * call.images, batch1.data(), batch2.data());
    }
#pragma omp parallel num_threads(call.threads)
    {
        std::vector<float> image1(channels), image2(channels);
        float* elements = call.elements == nullptr ? nullptr : call.elements + omp_get_thread_num() * 2 * in;
#pragma omp for schedule(static)
        for (int64_t n = 0; n < call.images; n++) {
            int64_t row = one_image ? n * channels : 0;
            const float *mean = call.mean + row, *rstd = call.rstd + row;
            if (one_image) {
                image_sums<T, POOL, SHAPE>(call, input + n * in, gz + n * out, mean, rstd, first + n * channels,
                                    second + n * channels, elements);
                group_means(call, first + n * channels, second + n * channels, call.groups, pixels, image1.data(),
                            image2.data());
            }
            image_gradient<T, POOL, SHAPE>(call, input + n * in, gz + n * out, gradient + n * in, mean, rstd,
                                    one_image ? image1.data() : batch1.data(),
                                    one_image ? image2.data() : batch2.data(), total + n * channels);
        }
    }
    sum_over_images(call, total, call.bias_gradient);
    if (call.elements != nullptr) {
        for (int t = 0; t < call.threads; t++)
            for (int64_t i = 0; i < in; i++) {
                call.gamma_gradient[i] += call.elements[t * 2 * in + i];
                call.beta_gradient[i] += call.elements[(t * 2 + 1) * in + i];
            }
        return;
    }
    sum_over_images(call, first, call.beta_gradient);
    sum_over_images(call, second, call.gamma_gradient);
}

template <class T, int POOL, class Run>
void by_shape(const Call& call, const Run& run) {
    if (call.slope == 0.0f && !call.sigmoid) return run(Kind<T, POOL, RELU>{});
    run(Kind<T, POOL, ANY>{});
}

template <class T, class Run>
void by_pool(const Call& call, const Run& run) {
    if (call.pool == MAX) return by_shape<T, MAX>(call, run);
    if (call.pool == AVERAGE) return by_shape<T, AVERAGE>(call, run);
    by_shape<T, WHOLE>(call, run);
}

// Calls `run(Kind<...>)` with what is known of the call at compile time.
template <class Run>
void by_kind(const Call& call, const Run& run) {
    if (call.bfloat16) return by_pool<Bf16>(call, run);
    by_pool<float>(call, run);
}

}  // namespace

extern "C" void winnow_block_forward(const Call* call) {
    by_kind(*call, [&](auto kind) { forward(*call, kind); });
}

extern "C" void winnow_block_backward(const Call* call) {
    by_kind(*call, [&](auto kind) { backward(*call, kind); });
}

extern "C" int64_t winnow_call_size() { return sizeof(Call); }
