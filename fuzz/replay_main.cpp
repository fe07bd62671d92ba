// Runs every file of a corpus through a fuzz target, where there is no fuzzer. Usage: TARGET CORPUS. A corpus without a file is a failure.

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: %s CORPUS\n", argv[0]), 2;
  std::size_t count = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1], error)) {
    std::ifstream file(entry.path(), std::ios::binary);
    std::vector<std::uint8_t> input(entry.file_size());  // of exactly that size: sanitizers see a read behind it
    file.read(reinterpret_cast<char*>(input.data()), static_cast<std::streamsize>(input.size()));
    if (!file) return std::fprintf(stderr, "cannot read %s\n", entry.path().c_str()), 1;
    std::printf("%s\n", entry.path().filename().c_str());
    std::fflush(stdout);  // the last line names the input that broke something
    LLVMFuzzerTestOneInput(input.data(), input.size());
    ++count;
  }
  if (count == 0) std::fprintf(stderr, "no corpus in %s\n", argv[1]);
  return count == 0 ? 1 : 0;
}
