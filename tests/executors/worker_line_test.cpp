#include "executors/worker_line.hpp"

#include <gtest/gtest.h>

namespace p2p::test {
namespace {

TEST(WorkerLine, ComesWholeHoweverTheBytesAreCut) {
  const std::string bytes = "one\n\ntwo\r\nthree\nnot yet";
  for (std::size_t piece = 1; piece <= bytes.size(); ++piece) {
    WorkerLines lines;
    std::vector<std::string> all;
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      lines.push(std::string_view(bytes).substr(at, piece));
      while (const std::optional<std::string> line = lines.next().value()) all.push_back(*line);
    }
    EXPECT_EQ(all, (std::vector<std::string>{"one", "", "two\r", "three"})) << piece;
  }
}

TEST(WorkerLine, HasTheLimitAndNotOneByteMore) {
  const std::string longest(limits::worker_line, 'x');
  for (const char* const end : {"", "\n"}) {
    WorkerLines lines;
    lines.push("before\n" + longest + end);
    EXPECT_EQ(lines.next().value(), "before");
    EXPECT_EQ(lines.next().value().has_value(), *end != '\0');
    lines.push(longest + "x" + end);
    EXPECT_EQ(lines.next().error().code, Errc::too_large);
  }
}

TEST(WorkerLine, SaysOutputOrTheEndOrBoth) {
  const WorkerLine text = parse_worker_line(R"({"id":7,"text":"Once"})").value();
  EXPECT_EQ(text.id, 7U);
  EXPECT_EQ(text.text, "Once");
  EXPECT_FALSE(text.end);
  const WorkerLine both = parse_worker_line(R"({"id":7,"text":"","done":true,"model":"m","finish_reason":"stop",)"
                                            R"("usage":{"prompt_tokens":3,"completion_tokens":-1}})")
                              .value();
  EXPECT_EQ(both.text, "");
  const Outcome end = both.end.value();
  EXPECT_EQ(end.status, Status::completed);
  EXPECT_EQ(end.model, "m");
  EXPECT_EQ(end.finish_reason, "stop");
  EXPECT_EQ(end.usage.value().prompt_tokens, 3U);
  EXPECT_EQ(end.usage.value().completion_tokens, 0U);
  const Outcome failed = parse_worker_line(R"({"id":7,"done":true,"error":"no GPU"})").value().end.value();
  EXPECT_EQ(failed.status, Status::failed);
  EXPECT_EQ(failed.error.value().message, "no GPU");
}

TEST(WorkerLine, IsCutWhereItsTextsAreTooLong) {
  const auto end = [](const std::string& members) { return parse_worker_line("{\"id\":7," + members + "}").value().end.value(); };
  const std::string longer(limits::error_line + 1, 'x');
  EXPECT_EQ(end("\"error\":\"" + longer + "\"").error.value().message.size(), limits::error_line);
  EXPECT_EQ(end("\"done\":true,\"model\":\"" + longer + "\"").model.value().size(), limits::model_name);
  EXPECT_EQ(end("\"done\":true,\"finish_reason\":\"" + longer + "\"").finish_reason.value().size(), limits::model_name);
}

TEST(WorkerLine, HasNoIdThatNoTaskHas) {
  for (const char* const id : {"-1", "\"7\"", "7.0", "18446744073709551615", "null"}) {
    const Result<WorkerLine> line = parse_worker_line(std::string("{\"text\":\"x\",\"id\":") + id + "}");
    EXPECT_TRUE(!line || !line->id) << id;
  }
  EXPECT_FALSE(parse_worker_line(R"({"text":"x"})").value().id);
}

TEST(WorkerLine, IsRefusedWhenItSaysNothing) {
  for (const char* const line : {"", "hello", "[1]", "{}", R"({"id":7})", R"({"id":7,"done":false})", R"({"id":7,"text":5})"}) {
    EXPECT_EQ(parse_worker_line(line).error().code, Errc::malformed) << line;
  }
}

}  // namespace
}  // namespace p2p::test
