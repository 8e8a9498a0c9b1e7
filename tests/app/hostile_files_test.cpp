// Files that a downloaded folder may hold, and what they must not do to the program, the terminal
// or the machine.
#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "checkpoint/hugging_face.h"
#include "core/text.h"
#include "tests/app/byte_tokenizer.h"
#include "tests/app/program.h"
#include "tests/checkpoint/hugging_face_support.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
using namespace testing;  // NOLINT

// A window title and its end; no more may come out than their pictures.
const std::string kTitle = "\x1b]0;owned\x07";
const char* const kTitleInJson = R"(\u001b]0;owned\u0007)";

/// The program fails with one line, in which there is no escape code.
::testing::AssertionResult fails_without_escapes(const std::vector<std::string>& arguments,
                                                 int code, const std::string& part) {
  Program program(arguments);
  const int ended = program.wait();
  for (const std::string& text : {program.out(), program.err()})
    if (text.find_first_of("\x1b\x07") != std::string::npos)
      return ::testing::AssertionFailure() << "escape codes in: " << printable(text);
  if (ended != code) return ::testing::AssertionFailure() << "exit code " << ended;
  return contains(program.err(), part);
}

TEST(HostileFiles, FifosAreNotWaitedFor) {
  for (const char* name :
       {"config.json", "tokenizer.json", "model.safetensors", "generation_config.json"}) {
    SCOPED_TRACE(name);
    const LladaFolder from(DType::f32);
    const Folder to;
    fs::remove(from.folder / name);
    ASSERT_EQ(mkfifo((from.folder / name).c_str(), 0600), 0);
    Program import({"import", "--from", from.path(), "--output", to / "k.h5"});
    // A file that is only kept for export is left out instead.
    EXPECT_EQ(import.wait(), std::string(name) == "generation_config.json" ? 0 : 1);
    EXPECT_TRUE(contains(import.err(), std::string(name) + ": is not a regular file but a FIFO"));
    Program inspect({"inspect", from.path()});
    inspect.wait();
    EXPECT_TRUE(inspect.err().empty() || contains(inspect.err(), "but a FIFO"));
  }
}

TEST(HostileFiles, FifosThatOptionsNameAreNotWaitedFor) {
  const Folder folder;
  const std::string fifo = folder / "fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  const std::string said = fifo + ": is not a regular file but a FIFO";
  EXPECT_TRUE(fails({"plan", "--config", fifo}, 2, said));
  EXPECT_TRUE(fails({"tokenizer", "encode", "--tokenizer", fifo}, 1, said));
  EXPECT_TRUE(fails({"inspect", fifo}, 1, said));
  EXPECT_TRUE(fails({"evaluate", fifo, "--checkpoint", "x"}, 2, said));
}

TEST(HostileFiles, WhatAShellHasOpenedIsRead) {
  const Folder folder;
  const std::string tokenizer = folder.write("t.json", byte_tokenizer_json()),
                    text = folder.write("text", "ab");
  // A file, and a pipe.
  Program file({"tokenizer", "encode", "--tokenizer", tokenizer}, RLIM_INFINITY, text);
  EXPECT_EQ(file.wait(), 0) << file.err();
  EXPECT_EQ(file.out(), "97 98\n");
  Program pipe({"tokenizer", "encode", "--tokenizer", "/dev/fd/3"}, RLIM_INFINITY, text,
               {"bash", "-c", "exec 3< <(cat " + tokenizer + "); exec \"$@\"", "bash"});
  EXPECT_EQ(pipe.wait(), 0) << pipe.err();
  EXPECT_EQ(pipe.out(), "97 98\n");
}

TEST(HostileFiles, NamesAndTextsGiveATerminalNoCommands) {
  const Folder folder;
  EXPECT_TRUE(fails_without_escapes({"inspect", folder / kTitle}, 1, "owned"));
  EXPECT_TRUE(fails_without_escapes({"inspect", "x", "--" + kTitle}, 2, "owned"));
  std::string json = byte_tokenizer_json();
  const std::string type = R"({"type":"BPE")";
  json.replace(json.find(type), type.size(), std::string(R"({"type":")") + kTitleInJson + "\"");
  EXPECT_TRUE(fails_without_escapes(
      {"tokenizer", "encode", "--tokenizer", folder.write("t.json", json)}, 1, "owned"));
  const std::string config =
      folder.write("c.toml", std::string("[model]\nnum_layers = \"") + kTitleInJson + "\"\n");
  EXPECT_TRUE(fails_without_escapes({"plan", "--config", config}, 2, "owned"));
  EXPECT_TRUE(fails_without_escapes({"plan", "--config", config, "--set", "model." + kTitle + "=1"},
                                    2, "owned"));
}

TEST(HostileFiles, InspectGivesATerminalNoCommands) {
  const Folder folder;
  const std::string header = std::string(R"({"__metadata__":{"a":")") + kTitleInJson + R"("},")" +
                             kTitleInJson +
                             R"(\nb":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})";
  const std::uint64_t length = header.size();
  const std::string path = folder.write(
      "x.safetensors", std::string(reinterpret_cast<const char*>(&length), 8) + header);
  Program program({"inspect", "--tensors", path});
  EXPECT_EQ(program.wait(), 0) << program.err();
  EXPECT_EQ(program.out().find_first_of("\x1b\x07"), std::string::npos);
  EXPECT_TRUE(contains(program.out(), "\n\xe2\x90\x9b]0;owned\xe2\x90\x87 b  [0]"));
}

/// What is in `lacuna export`'s folder after importing `from`.
std::vector<std::string> exported(const std::string& from, const Folder& to, std::string& said) {
  Program import({"import", "--from", from, "--output", to / "k.h5"});
  EXPECT_EQ(import.wait(), 0) << import.err();
  said = import.err();
  Program out(
      {"export", "--checkpoint", to / "k.h5", "--format", "safetensors", "--output", to / "out"});
  EXPECT_EQ(out.wait(), 0) << out.err();
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(to / "out"))
    names.push_back(entry.path().filename().string());
  return names;
}
bool has(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

TEST(HostileFiles, WhatLinksPointToIsNotPublished) {
  const LladaFolder from(DType::f32);
  const Folder to, home;
  home.write("secret", "SECRET");
  fs::create_directory(from.folder / "sub");
  from.folder.write("sub/inner.txt", "ours");
  fs::create_symlink(home / "secret", from.folder / "notes.txt");
  fs::create_symlink("sub/inner.txt", from.folder / "inner.txt");
  fs::create_symlink(home / "none", from.folder / "gone.txt");
  std::string said;
  const auto names = exported(from.path(), to, said);
  EXPECT_FALSE(has(names, "notes.txt"));
  EXPECT_TRUE(contains(said, "notes.txt: is not kept for export: it is a link to "));
  EXPECT_TRUE(has(names, "inner.txt"));
  EXPECT_TRUE(has(names, "generation_config.json"));
  EXPECT_TRUE(contains(said, "gone.txt: No such file or directory; it is not kept"));
}

TEST(HostileFiles, HuggingFacesCacheIsMadeOfLinks) {
  const LladaFolder from(DType::f32);
  const Folder cache, to;
  const fs::path model = cache / "models--x--y", blobs = model / "blobs",
                 snapshot = model / "snapshots/abc";
  fs::create_directories(blobs);
  fs::create_directories(snapshot);
  int hash = 0;
  for (const std::string& name : from.folder.files()) {
    const std::string blob = std::to_string(++hash);
    fs::copy_file(from.folder / name, blobs / blob);
    fs::create_symlink(fs::path("../../blobs") / blob, snapshot / name);
  }
  std::string said;
  const auto names = exported(snapshot.string(), to, said);
  EXPECT_TRUE(has(names, "generation_config.json"));
  EXPECT_TRUE(has(names, "modeling_llada.py"));
  EXPECT_EQ(said.find("link"), std::string::npos) << said;
  // The model's own files may come from anywhere, and are named.
  const Folder elsewhere, again;
  for (const std::string& name : from.folder.files())
    fs::create_symlink(from.folder / name, elsewhere / name);
  const auto others = exported(elsewhere / ".", again, said);
  EXPECT_TRUE(contains(said, "config.json: is a link to "));
  EXPECT_TRUE(contains(said, "model.safetensors: is a link to "));
  EXPECT_FALSE(has(others, "modeling_llada.py"));
}

/// Zeros instead of random bits, among which there are NaN: a model whose logits are all 0.
void zero_weights(const LladaFolder& from) {
  write_safetensors_sharded(
      from.folder / ".", hugging_face_tensors(from.model, DType::f32), {{"format", "pt"}},
      [](std::size_t, const Tensor& out) { std::memset(out.data, 0, std::size_t(out.bytes())); });
}

TEST(HostileFiles, AForeignTokenizerLeavesIdsUsable) {
  const LladaFolder from(DType::f32);
  zero_weights(from);
  const Folder to;
  from.folder.write("tokenizer.json", R"({"version":"1.0","added_tokens":[],"normalizer":null,
    "pre_tokenizer":null,"decoder":null,"model":{"type":"BPE","byte_fallback":true,
    "vocab":{"<0x00>":0,"a":1},"merges":[]}})");
  import_hugging_face(from.path(), to / "k.h5");
  const std::string k = to / "k.h5";
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"sample", "--tokens", "1 2", "--ids", "--gen-length", "3"},
        {"score", "--tokens", "1 2"},
        {"score", "--tokens", "1 2", "--prompt-tokens", "3"},
        {"forward", "--tokens", "1 2", "--output", to / "f.h5"},
        {"inspect", k},
        {"export", "--format", "safetensors", "--output", to / "out"},
        {"export", "--format", "gguf", "--output", to / "m.gguf"}}) {
    auto all = arguments;
    if (arguments[0] != "inspect") all.insert(all.begin() + 1, {"--checkpoint", k});
    Program program(all);
    EXPECT_EQ(program.wait(), 0) << arguments[0] << ": " << program.err();
    if (arguments[0] == "export" && arguments[2] == "gguf") {
      EXPECT_TRUE(contains(program.err(), "is not byte-level BPE"));
      EXPECT_TRUE(contains(read_file(to / "m.gguf"), "no_vocab"));
    }
  }
  const std::string why = "tokenizer: is not byte-level BPE";
  EXPECT_TRUE(fails({"sample", "--checkpoint", k, "--tokens", "1"}, 1, why));
  EXPECT_TRUE(fails({"sample", "--checkpoint", k, "--prompt", "a", "--ids"}, 1, why));
  EXPECT_TRUE(fails({"score", "--checkpoint", k, "--text", "a"}, 1, why));
  EXPECT_TRUE(fails({"sample", "--checkpoint", k, "--chat", "--prompt", "a"}, 1, why));
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(HostileFiles, LittleMemoryIsAnError) {
  const LladaFolder from(DType::f32);
  zero_weights(from);
  const Folder to;
  import_hugging_face(from.path(), to / "k.h5");
  // The program and its libraries need some 80 MB, OpenBLAS 130 more for each thread.
  for (const int megabytes : {100, 120, 150, 200, 250, 300}) {
    Program program({"sample", "--checkpoint", to / "k.h5", "--tokens", "1", "--ids",
                     "--gen-length", "2", "--threads", "1"},
                    RLIM_INFINITY, "",
                    {"bash", "-c", str("ulimit -v ", megabytes, "000; exec \"$@\""), "bash"});
    const int ended = program.wait();
    EXPECT_TRUE(ended == 0 || ended == 1 || ended == 127) << megabytes << ": " << ended;
    if (ended == 1) {
      EXPECT_TRUE(contains(program.err(), "lacuna: "));
      EXPECT_EQ(program.err().find("std::bad_alloc"), std::string::npos) << program.err();
    }
  }
}
#endif

TEST(HostileFiles, WhatDoesNotFitIsNamed) {
  const LladaFolder from(DType::f32);
  const Folder to;
  import_hugging_face(from.path(), to / "k.h5");
  Program program({"score", "--checkpoint", to / "k.h5", "--tokens", "1 2", "--samples",
                   "2147483648", "--threads", "1"},
                  RLIM_INFINITY, "", {"bash", "-c", "ulimit -v 3000000; exec \"$@\"", "bash"});
  EXPECT_EQ(program.wait(), 1);
  EXPECT_TRUE(contains(program.err(), "an estimate for each of 2147483648 samples needs 16.0 GiB"));
}

}  // namespace
}  // namespace lacuna
