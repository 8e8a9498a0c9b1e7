#include "formats/safetensors.h"

#include "core/half.h"
#include "tests/checkpoint/support.h"
#include "tests/support/paths.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
using testing::contains;
using testing::error_of;
using testing::Folder;
using testing::same;
using testing::Tensors;

std::string golden(const std::string& name) { return testing::golden_path(name + ".safetensors"); }

/// scripts/golden/safetensors_files.py: element i is (i - 3) / 4, of integers i.
double expected(std::int64_t i, bool is_float) { return is_float ? double(i - 3) / 4 : double(i); }
double element(const Tensor& t, std::int64_t i) {
  switch (t.dtype) {
    case DType::f32:
      return t.as<float>()[i];
    case DType::f64:
      return t.as<double>()[i];
    case DType::bf16:
      return to_float(t.as<BFloat16>()[i]);
    case DType::f16:
      return to_float(t.as<Float16>()[i]);
    case DType::i32:
      return t.as<std::int32_t>()[i];
    case DType::i64:
      return double(t.as<std::int64_t>()[i]);
    case DType::u8:
      return t.as<std::uint8_t>()[i];
    case DType::u16:
      return t.as<std::uint16_t>()[i];
    case DType::e4m3:
    case DType::e5m2:
      break;
  }
  return 0;
}

TEST(Safetensors, files_of_the_python_package) {
  const SafetensorsFile file(golden("safetensors_types"));
  struct Stored {
    const char* name;
    Shape shape;
    DType dtype;
  };
  const Stored stored[] = {{"f32", {2, 3}, DType::f32},
                           {"f64", {5}, DType::f64},
                           {"f16", {3, 1, 2}, DType::f16},
                           {"i32", {4}, DType::i32},
                           {"i64", {2, 2}, DType::i64},
                           {"u8", {7}, DType::u8},
                           {"empty", {0, 4}, DType::f32},
                           {"four.extents", {2, 1, 3, 2}, DType::f32},
                           {"n\xc3\xa4me \"quoted\"\n", {1}, DType::f32}};
  for (const Stored& s : stored) {
    const Tensor t = file.view(s.name);
    ASSERT_EQ(t.shape, s.shape) << s.name;
    ASSERT_EQ(t.dtype, s.dtype) << s.name;
    EXPECT_EQ(file.shape(s.name), s.shape);
    EXPECT_EQ(file.dtype(s.name), s.dtype);
    const bool is_float = s.name[0] != 'i' && s.name[0] != 'u';
    for (std::int64_t i = 0; i < t.count(); ++i)
      EXPECT_EQ(element(t, i), expected(i, is_float)) << s.name << ' ' << i;
  }
  EXPECT_EQ(file.view("scalar").shape, Shape{});
  EXPECT_EQ(*file.view("scalar").as<float>(), 1.5f);
  EXPECT_EQ(file.names().size(), 10u);
  EXPECT_EQ(file.metadata(),
            (Metadata{{"eps", "1e-05"}, {"format", "np"}, {"w\xc3\xb6rd", "a\"b\nc"}}));
  EXPECT_EQ(error_of([&] { file.view("none"); }),
            golden("safetensors_types") + ": has no tensor 'none'");

  const SafetensorsFile half(golden("safetensors_bf16"));
  EXPECT_EQ(half.names(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(half.dtype("b"), DType::bf16);
  for (std::int64_t i = 0; i < 6; ++i) EXPECT_EQ(element(half.view("b"), i), expected(i, true));
}

TEST(Safetensors, every_type_and_rank_reads_back_bit_for_bit) {
  const Folder folder;
  Tensors own;
  std::vector<NamedTensor> tensors;
  const Shape shapes[] = {{}, {1}, {7}, {0}, {3, 0}, {2, 3}, {2, 3, 4}, {2, 1, 3, 2}};
  for (const DType dtype : testing::kEveryType)
    for (const Shape& shape : shapes)
      tensors.push_back({str(dtype, shape, " \"\\\n\xc3\xa9"), own.random(shape, dtype)});
  const Metadata metadata = {{"format", "pt"}, {"k\"\n", "\xf0\x9f\x99\x82"}};
  write_safetensors(folder / "a.safetensors", tensors, metadata);
  const SafetensorsFile file(folder / "a.safetensors");
  EXPECT_EQ(file.metadata(), metadata);
  EXPECT_EQ(file.names().size(), tensors.size());
  for (const NamedTensor& t : tensors) EXPECT_TRUE(same(file.view(t.name), t.tensor)) << t.name;
}

TEST(Safetensors, no_tensors_at_all) {
  const Folder folder;
  write_safetensors(folder / "a.safetensors", {});
  EXPECT_TRUE(SafetensorsFile(folder / "a.safetensors").names().empty());
}

TEST(Safetensors, the_bytes_are_those_of_the_python_package) {
  // Same tensors, same order (wide elements first, then by name): the same file.
  const Folder folder;
  const SafetensorsFile original(golden("safetensors_bf16"));
  std::vector<NamedTensor> tensors;
  for (const std::string& name : original.names()) tensors.push_back({name, original.view(name)});
  write_safetensors(folder / "a.safetensors", tensors, original.metadata());
  const auto bytes = [](const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return std::string((std::istreambuf_iterator<char>(in)), {});
  };
  EXPECT_EQ(bytes(folder / "a.safetensors"), bytes(golden("safetensors_bf16")));
}

TEST(Safetensors, tensors_at_any_address) {
  // A writer need not align its data. 5 bytes of u8, then f64, i32 and f16.
  const Folder folder;
  const std::string header = R"({"a":{"dtype":"U8","shape":[5],"data_offsets":[0,5]},)"
                             R"("b":{"dtype":"F64","shape":[1],"data_offsets":[5,13]},)"
                             R"("c":{"dtype":"F16","shape":[1],"data_offsets":[13,15]}})";
  const std::uint64_t length = header.size();
  const double number = 0.1;
  const std::string path = folder.write(
      "a.safetensors", std::string(reinterpret_cast<const char*>(&length), 8) + header + "12345" +
                           std::string(reinterpret_cast<const char*>(&number), 8) + "\x01\x3c");
  const SafetensorsFile file(path);
  EXPECT_EQ(*file.view("b").as<double>(), 0.1);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(file.view("b").data) % 8, 0u);
  EXPECT_EQ(file.view("c").as<Float16>()->bits, 0x3c01);
  EXPECT_EQ(file.view("a").as<std::uint8_t>()[4], '5');
}

TEST(SafetensorsWriter, what_was_announced_must_come) {
  const Folder folder;
  Tensors own;
  const std::string path = folder / "a.safetensors";
  {
    SafetensorsWriter writer(path, {{"a", {2}, DType::f32}, {"b", {3}, DType::f32}}, {});
    writer.write(own.zeros({2}));
    EXPECT_EQ(error_of([&] { writer.commit(); }), path + ": only 1 of 2 tensors were written");
  }
  {
    SafetensorsWriter writer(path, {{"a", {2}, DType::f32}}, {});
    EXPECT_EQ(error_of([&] { writer.write(own.zeros({2}, DType::f16)); }),
              path + ": tensor 'a' was announced as [2] f32, not [2] f16");
  }
  {
    SafetensorsWriter writer(path, {{"a", {2}, DType::f32}}, {});
    writer.write(own.zeros({2}));
    EXPECT_EQ(error_of([&] { writer.write(own.zeros({2})); }),
              path + ": more tensors than announced");
  }
  EXPECT_EQ(error_of([&] {
              SafetensorsWriter writer(path, {{"a", {2}, DType::f32}, {"a", {2}, DType::f32}}, {});
            }),
            path + ": two tensors are named 'a'");
  EXPECT_TRUE(folder.files().empty());
}

/// Writes ten [100] f32 tensors in shards of at most `shard_bytes` and reads them back.
std::vector<std::string> shards_of(const Folder& folder, std::int64_t shard_bytes) {
  Tensors own;
  std::vector<TensorInfo> infos;
  std::vector<Tensor> tensors;
  for (int i = 0; i < 10; ++i) {
    infos.push_back({str("t", i), {100}, DType::f32});
    tensors.push_back(own.random({100}));
  }
  write_safetensors_sharded(
      folder / ".", infos, {{"format", "pt"}},
      [&](std::size_t i, const Tensor& out) {
        std::memcpy(out.data, tensors[i].data, std::size_t(out.bytes()));
      },
      shard_bytes);
  const SafetensorsFolder read(folder / ".");
  EXPECT_EQ(read.names().size(), 10u);
  for (std::size_t i = 0; i < 10; ++i) EXPECT_TRUE(same(read.view(infos[i].name), tensors[i]));
  return folder.files();
}

TEST(SafetensorsFolder, one_file_or_shards) {
  const Folder one, three, ten;
  EXPECT_EQ(shards_of(one, 4000), std::vector<std::string>{"model.safetensors"});
  EXPECT_EQ(shards_of(three, 1600),
            (std::vector<std::string>{
                "model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                "model-00003-of-00003.safetensors", "model.safetensors.index.json"}));
  EXPECT_EQ(shards_of(ten, 1).size(), 11u);  // a tensor is never cut
}

TEST(SafetensorsFolder, index_and_shards_that_disagree) {
  const auto mistake_after = [](const std::function<void(const Folder&)>& change) {
    const Folder folder;
    shards_of(folder, 2000);
    change(folder);
    return error_of([&] { SafetensorsFolder read(folder / "."); });
  };
  const auto index = [](const std::string& json) {
    return [json](const Folder& f) { f.write("model.safetensors.index.json", json); };
  };
  const std::string first = "model-00001-of-00002.safetensors";
  EXPECT_EQ(mistake_after([](const Folder&) {}), "");
  EXPECT_TRUE(contains(mistake_after([&](const Folder& f) { fs::remove(f / first); }),
                       first + ": No such file or directory"));
  EXPECT_TRUE(contains(
      mistake_after([&](const Folder& f) {
        fs::copy_file(f / first, f / "model-00002-of-00002.safetensors",
                      fs::copy_options::overwrite_existing);
      }),
      "model-00002-of-00002.safetensors: lacks tensor 't5', which model.safetensors.index.json "
      "says it holds"));
  EXPECT_TRUE(contains(mistake_after(index(R"({"weight_map": {"t0": ")" + first + "\"}}")),
                       first + ": tensor 't1' is missing from model.safetensors.index.json"));
  EXPECT_TRUE(contains(mistake_after(index("{")), "model.safetensors.index.json: malformed JSON"));
  EXPECT_TRUE(contains(mistake_after(index("[]")), ": is not a JSON object"));
  EXPECT_TRUE(contains(mistake_after(index("{}")), ": has no weight_map"));
  EXPECT_TRUE(contains(mistake_after(index(R"({"weight_map": {"a": 3}})")), "'a' names no file"));
  EXPECT_TRUE(contains(mistake_after(index(R"({"weight_map": {"a": "../x.safetensors"}})")),
                       "is not a file of this folder"));
  EXPECT_TRUE(contains(mistake_after(index(R"({"weight_map": {"a": "/etc/passwd"}})")),
                       "is not a file of this folder"));
  const Folder empty;
  EXPECT_EQ(error_of([&] { SafetensorsFolder read(empty / "."); }),
            empty / "." + ": has neither model.safetensors nor model.safetensors.index.json");
}

}  // namespace
}  // namespace lacuna
