// upscale_png BUNDLE INPUT.png OUTPUT.png [SCALE]: upscales a PNG with libpcsr and libpng.
//
// Gray, alpha, 16 bits and colour spaces stay. PCSR_ONNXRUNTIME names ONNX Runtime's library.
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include <png.h>
#include <pcsr/pcsr.hpp>

namespace {

// libpng's reader or writer with its info and its file.
struct Png {
    explicit Png(const std::string &path, bool writes)
        : path(path), writes(writes), file(std::fopen(path.c_str(), writes ? "wb" : "rb")) {
        if (!file) throw std::runtime_error(path + ": " + std::strerror(errno));
        png = (writes ? png_create_write_struct : png_create_read_struct)(
            PNG_LIBPNG_VER_STRING, this, fail, [](png_structp, png_const_charp) {});
        info = png ? png_create_info_struct(png) : nullptr;
        if (!info) throw std::runtime_error("out of memory");
        png_init_io(png, file);
    }
    Png(const Png &) = delete;
    ~Png() {
        writes ? png_destroy_write_struct(&png, &info)
               : png_destroy_read_struct(&png, &info, nullptr);
        std::fclose(file);
        if (writes) std::remove(path.c_str());  // what was not renamed
    }

    // libpng leaves a call by longjmp where it fails, past destructors: `call` needs none.
    template <typename Call>
    void guarded(const Call &call) {
        if (setjmp(png_jmpbuf(png))) throw std::runtime_error(path + ": " + message);
        call();
    }

    std::string path, message;
    bool writes;
    std::FILE *file;
    png_structp png = nullptr;
    png_infop info = nullptr;

    static void fail(png_structp png, png_const_charp message) {
        static_cast<Png *>(png_get_error_ptr(png))->message = message;
        png_longjmp(png, 1);
    }
};

// Pixels in memory, rows without gaps.
struct Picture {
    pcsr::Image image;
    std::vector<png_byte> pixels;

    Picture(int32_t width, int32_t height, int32_t channels, int32_t format)
        : pixels(size_t(width) * height * channels * (format == PCSR_U16 ? 2 : 1)) {
        image = pcsr::Image(pixels.data(), width, height, channels, format);
    }
    size_t row_bytes() const { return pixels.size() / image.height; }
};

// PNG has its 16 bits with the high byte first.
int byte_order() {
    const uint16_t one = 1;
    return *reinterpret_cast<const char *>(&one) ? PNG_TRANSFORM_SWAP_ENDIAN : 0;
}

Picture read(Png &from) {
    const int transforms = PNG_TRANSFORM_EXPAND | byte_order();  // palettes and few bits become 8
    from.guarded([&] { png_read_png(from.png, from.info, transforms, nullptr); });
    const bool deep = png_get_bit_depth(from.png, from.info) == 16;
    Picture picture(
        png_get_image_width(from.png, from.info), png_get_image_height(from.png, from.info),
        png_get_channels(from.png, from.info), deep ? PCSR_U16 : PCSR_U8);
    const png_bytepp rows = png_get_rows(from.png, from.info);
    for (int32_t y = 0; y < picture.image.height; y++)
        std::memcpy(&picture.pixels[y * picture.row_bytes()], rows[y], picture.row_bytes());
    return picture;
}

void copy_colours(Png &from, Png &to) {
    int intent = 0, compression = 0;
    png_charp name = nullptr;
    png_bytep profile = nullptr;
    png_uint_32 size = 0;
    png_fixed_point gamma = 0;
    if (png_get_iCCP(from.png, from.info, &name, &compression, &profile, &size))
        png_set_iCCP(to.png, to.info, name, compression, profile, size);
    else if (png_get_sRGB(from.png, from.info, &intent))
        png_set_sRGB(to.png, to.info, intent);
    if (png_get_gAMA_fixed(from.png, from.info, &gamma))
        png_set_gAMA_fixed(to.png, to.info, gamma);
}

void write(Png &to, Png &from, Picture &picture) {
    const int types[] = {PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB,
                         PNG_COLOR_TYPE_RGB_ALPHA};
    const pcsr::Image &image = picture.image;
    std::vector<png_bytep> rows(image.height);
    for (size_t y = 0; y < rows.size(); y++) rows[y] = &picture.pixels[y * picture.row_bytes()];
    to.guarded([&] {
        png_set_IHDR(to.png, to.info, image.width, image.height, image.format == PCSR_U16 ? 16 : 8,
                     types[image.channels - 1], PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                     PNG_FILTER_TYPE_DEFAULT);
        copy_colours(from, to);
        png_set_rows(to.png, to.info, rows.data());
        png_write_png(to.png, to.info, byte_order(), nullptr);
    });
    if (std::fflush(to.file) != 0) throw std::runtime_error(to.path + ": " + std::strerror(errno));
}

void upscale(const char *bundle, const char *input, const std::string &output, double scale) {
    if (std::filesystem::exists(output) && !std::filesystem::is_regular_file(output))
        throw std::runtime_error(output + ": expected the name of a file");
    Png from(input, false);
    Picture small = read(from);
    const pcsr::Upscaler upscaler(bundle);
    const pcsr::Size size = upscaler.output_size(small.image.width, small.image.height, scale);
    Picture large(size.width, size.height, small.image.channels, small.image.format);
    pcsr::RunOptions options;
    options.scale = scale;
    upscaler.run(small.image, large.image, options);
    Png to(output + ".part", true);
    write(to, from, large);
    std::filesystem::rename(to.path, output);  // whole or not at all
}

}  // namespace

int main(int count, char **arguments) {
    char *end = nullptr;
    const double scale = count == 5 ? std::strtod(arguments[4], &end) : 0;
    if (count < 4 || count > 5 || (end && (*end || scale <= 0))) {
        std::fputs("usage: upscale_png BUNDLE INPUT.png OUTPUT.png [SCALE]\n", stderr);
        return 2;
    }
    try {
        upscale(arguments[1], arguments[2], arguments[3], scale);
    } catch (const std::exception &error) {
        std::fprintf(stderr, "upscale_png: %s\n", error.what());
        return 1;
    }
}
