#include <filesystem>

#include "checkpoint/checkpoint.h"
#include "checkpoint/checkpoint_config.h"
#include "checkpoint/gguf_import.h"
#include "checkpoint/hugging_face.h"
#include "core/block_formats.h"
#include "core/input_file.h"
#include "data/decompress.h"
#include "data/token_file.h"
#include "data/token_manifest.h"
#include "formats/gguf_tensors.h"
#include "formats/hdf5.h"
#include "formats/parquet.h"
#include "formats/safetensors.h"
#include "tests/data/compressed.h"
#include "tests/fuzz/targets.h"
#include "tests/support/paths.h"

namespace lacuna::fuzz {
namespace {

void read_dataset(const h5::File& file, const std::string& path) {
  tolerant([&] { file.verify(path); });
  tolerant([&] {
    const Shape shape = file.shape(path);
    const DType dtype = file.dtype(path);
    std::vector<double> memory(std::size_t(shape.count() * size_of(dtype)) / 8 + 1);
    tolerant([&] { file.read(path, Tensor(static_cast<void*>(memory.data()), shape, dtype)); });
    // The middle, as a matrix and as rows.
    const Tensor whole(nullptr, shape, dtype);
    const Shape part{(whole.rows() + 1) / 2, (whole.cols() + 1) / 2};
    tolerant([&] {
      file.read_box(path, whole.rows() / 2, whole.cols() / 2,
                    Tensor(static_cast<void*>(memory.data()), part, dtype));
    });
    if (shape.rank == 0) return;
    Shape rows = shape;
    rows.extent[0] /= 2;
    file.read_rows(path, shape[0] - rows[0],
                   Tensor(static_cast<void*>(memory.data()), rows, dtype));
  });
}

void walk(const h5::File& file, const std::string& group) {
  for (const std::string& name : file.list(group)) {
    const std::string path = (group == "/" ? "" : group) + "/" + name;
    if (file.is_dataset(path))
      read_dataset(file, path);
    else if (file.exists(path))
      walk(file, path);
    if (!file.exists(path)) continue;
    for (const std::string& attribute : file.attribute_names(path))
      tolerant([&] { file.attribute(path, attribute); });
  }
}

}  // namespace

void read_hdf5(std::string_view input) {
  const std::string path = file_with(input);
  tolerant([&] { walk(h5::File::open(path), "/"); });
  tolerant([&] {
    const CheckpointReader reader(path);
    reader.verify();
  });
  tolerant([&] {
    const TokenFile file(path);
    std::vector<std::int32_t> tokens(std::size_t(file.tokens()));
    file.read(0, tokens);
  });
}

void read_safetensors(std::string_view input) {
  const std::string path = file_with(input);
  tolerant([&] {
    const SafetensorsFile file(path);
    for (const std::string& name : file.names()) {
      const Tensor t = file.view(name);
      const auto* bytes = static_cast<const volatile char*>(t.data);
      for (std::int64_t i = 0; i < t.bytes(); ++i) static_cast<void>(bytes[i]);
    }
  });
}

void read_safetensors_index(std::string_view input) {
  static const std::string shard = read_file(testing::golden_path("safetensors_types.safetensors"));
  folder_with("model-00001-of-00001.safetensors", shard);
  const std::string folder = folder_with("model.safetensors.index.json", input);
  tolerant([&] {
    const SafetensorsFolder all(folder);
    for (const std::string& name : all.names()) all.view(name);
  });
}

void read_gguf(std::string_view input) {
  const std::string path = file_with(input);
  tolerant([&] {
    const GgufTensors file(path);
    static_cast<void>(file.header().text("general.architecture"));
    for (const std::string& name : file.names())
      tolerant([&] {
        const GgufTensors::Entry& t = file.at(name);
        std::vector<float> values(std::size_t(t.shape.count()));
        dequantise(t.format, t.data, t.shape.count(), values.data());
      });
  });
  tolerant([&] {
    const std::unique_ptr<const ModelReader> model = open_gguf(path);
    static_cast<void>(config_of_checkpoint(*model));
    static_cast<void>(kept_chat_template(model->info(), path));
    for (const std::string& name : model->names("model")) {
      std::vector<float> values(std::size_t(model->shape("model", name).count()));
      model->read("model", name, Tensor(values.data(), model->shape("model", name)));
    }
  });
}

void read_parquet(std::string_view input) {
  const std::string path = file_with(input);
  for (const char* column : {"text", "meta.text"})
    tolerant([&] {
      ParquetTexts rows(path, column);
      std::optional<std::string_view> text;
      for (int i = 0; i < 10'000 && rows.next(text); ++i) {
      }
    });
}

void read_megatron(std::string_view input) {
  folder_with("x.bin", std::string(24, '\1'));
  const std::string path = folder_with("x.idx", input) + "/x.idx";
  tolerant([&] {
    const TokenFile file(path, 300);
    for (std::int64_t i = 0; i <= std::min<std::int64_t>(file.documents(), 1000); ++i)
      tolerant([&] { file.offset(i); });
    std::vector<std::int32_t> tokens(std::size_t(file.tokens()));
    file.read(0, tokens);
  });
}

void read_manifest(std::string_view input) {
  tolerant([&] {
    const TokenManifest manifest = parse_manifest(input, "manifest.json");
    CHECK(parse_manifest(manifest_text(manifest), "again").tokens() == manifest.tokens(),
          "a manifest reads back differently");
  });
}

std::vector<std::string> megatron_seeds() {
  const auto bytes = [](const auto& values) {
    return std::string(reinterpret_cast<const char*>(values.data()),
                       values.size() * sizeof(values[0]));
  };
  std::vector<std::string> seeds;
  for (const std::int64_t width : {2, 4}) {
    const auto n = std::int32_t(24 / width);
    seeds.push_back(std::string("MMIDIDX\0\0", 9) + bytes(std::vector<std::uint64_t>{1}) +
                    char(width == 2 ? 8 : 4) + bytes(std::vector<std::uint64_t>{2, 3}) +
                    bytes(std::vector<std::int32_t>{1, n - 1}) +
                    bytes(std::vector<std::int64_t>{0, width, 0, 1, 2}));
  }
  return seeds;
}

std::vector<std::string> manifest_seeds() {
  TokenManifest manifest{"abc", {{"shard-00000.h5", "a.txt", 2, 501}, {"", "b.txt", 0, 0}}};
  return {manifest_text(manifest)};
}

void read_compressed(std::string_view input) {
  const std::string path = file_with(input);
  tolerant([&] {
    TextInput in(path);
    // Few bytes may hold very many.
    for (int i = 0; i < 64 && !in.text().ahead(1).empty(); ++i)
      in.text().skip(in.text().ahead(1).size());
  });
}

std::vector<std::string> hdf5_seeds() { return {}; }

std::vector<std::string> parquet_seeds() {
  std::vector<std::string> seeds;
  for (const char* name : {"snappy", "zstd_v2", "delta_byte_array", "nested", "gzip", "mixed"})
    seeds.push_back(read_file(testing::golden_path(str("parquet_", name, ".parquet"))));
  return seeds;
}

std::vector<std::string> compressed_seeds() {
  return {testing::gzip("some text"), testing::gzip("a") + testing::gzip("member more"),
          testing::zstd("some text"), testing::zstd("a") + testing::zstd("frame more"), "plain"};
}

std::vector<std::string> gguf_seeds() {
  std::vector<std::string> seeds;
  for (const char* dtype : {"f32", "q8_0"})
    seeds.push_back(read_file(testing::golden_path(str("gguf_", dtype, ".gguf"))));
  return seeds;
}

std::vector<std::string> safetensors_seeds() {
  return {read_file(testing::golden_path("safetensors_types.safetensors")),
          read_file(testing::golden_path("safetensors_bf16.safetensors"))};
}

std::vector<std::string> index_seeds() {
  std::string map;
  for (const std::string& name :
       SafetensorsFile(testing::golden_path("safetensors_types.safetensors")).names())
    map += (map.empty() ? "" : ", ") + ('"' + name + "\": \"model-00001-of-00001.safetensors\"");
  return {"{\"metadata\": {\"total_size\": 12}, \"weight_map\": {" + map + "}}"};
}

}  // namespace lacuna::fuzz
