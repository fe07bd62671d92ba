#include "executors/openai.hpp"

#include "executors/registry.hpp"
#include "support/http_bench.hpp"
#include "support/openai_server.hpp"
#include "support/own_network.hpp"
#include "support/recorded_run.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

namespace p2p::test {
namespace {

using std::chrono::seconds;
const std::string models_path = "/v1/models";
const std::string chat_path = "/v1/chat/completions";

Task task_of(const char* input) {
  Task task;
  task.task_id = "7f9c24e5-2b4a-4d6f-9a37-0c1d2e3f4a5b";
  task.input = boost::json::parse(input).as_object();
  return task;
}

OpenAiServer::Script answers(unsigned status, std::string body, std::string headers = {}) {
  return [=](Call& call) -> Awaitable<void> { co_await call.answer(status, body, headers); };
}

/// Streams these pieces, each a chunk, and closes without ending the body unless told to.
OpenAiServer::Script streams(std::vector<std::string> pieces, bool to_the_end = true) {
  return [=](Call& call) -> Awaitable<void> {
    co_await call.begin();
    for (const std::string& piece : pieces) co_await call.chunk(piece);
    if (to_the_end) co_await call.last_chunk();
  };
}

struct OpenAiTest : testing::Test {
  HttpBench bench;
  OpenAiServer server{bench.environment};
  std::unique_ptr<OpenAiExecutor> executor;

  /// Runs `work` while the server and an executor for it are there and the executor has looked.
  void serve(const std::function<Awaitable<void>()>& work, const std::string& behind_url = "/v1", const std::string& key = {}) {
    bench.run([&]() -> Awaitable<void> {
      server.start();
      executor = std::make_unique<OpenAiExecutor>(server.url() + behind_url, bench.environment, std::string_view(key));
      executor->start();
      co_await looked();
      co_await work();
      co_await executor->stop();
      co_await server.stop();
      EXPECT_EQ(bench.clock.waiting(), 0U);
    });
  }
  /// Returns when the executor waits for its next look.
  Awaitable<void> looked() {
    const std::size_t said = bench.log.size();
    while (bench.log.size() == said) co_await turn(bench.environment.loop);
    co_await turn(bench.environment.loop);
  }
  /// What comes of a task that the server answers like this; its output in `output`.
  Outcome outcome_of(OpenAiServer::Script script, const char* input = R"({"prompt":"Hi"})", const std::string& key = {}) {
    server.at[chat_path] = std::move(script);
    Outcome outcome;
    serve(
        [&]() -> Awaitable<void> {
          RecordedRun run(bench.environment, task_of(input));
          outcome = co_await executor->run(run);
          output = run.output;
        },
        "/v1", key);
    return outcome;
  }
  boost::json::object asked() const {
    for (const Call& call : server.calls) {
      if (call.path == chat_path) return call.input();
    }
    return {};
  }
  std::string output;
};

void expect(const Outcome& outcome, Status status, const std::string& code, const std::string& words) {
  EXPECT_EQ(name_of(outcome.status), name_of(status));
  ASSERT_TRUE(outcome.error);
  EXPECT_EQ(outcome.error->code, code);
  EXPECT_NE(outcome.error->message.find(words), std::string::npos) << outcome.error->message;
}

TEST_F(OpenAiTest, WritesAnAnswerAsItComes) {
  Event next(bench.environment.loop);
  server.at[chat_path] = [&](Call& call) -> Awaitable<void> {
    co_await next.wait();  // the first byte is late
    co_await call.begin();
    for (const char* const word : {"Once", " upon"}) {
      std::string text = delta(word);
      co_await call.chunk(std::move(text));
      co_await next.wait();
    }
    std::string end = finished("length") + used(3, 2) + done;
    co_await call.chunk(std::move(end));
    co_await call.last_chunk();
  };
  serve([&]() -> Awaitable<void> {
    RecordedRun run(bench.environment, task_of(R"({"prompt":"Hi"})"));
    run.on_write = [&](const std::string&) { next.notify(); };
    next.notify();
    const Outcome outcome = co_await executor->run(run);
    EXPECT_EQ(run.pieces, (std::vector<std::string>{"Once", " upon"}));
    EXPECT_EQ(outcome.status, Status::completed);
    EXPECT_FALSE(outcome.error);
    EXPECT_EQ(outcome.model, "tiny-q4");
    EXPECT_EQ(outcome.finish_reason, "length");
    EXPECT_TRUE(outcome.usage && outcome.usage->prompt_tokens == 3 && outcome.usage->completion_tokens == 2);
  });
}

TEST_F(OpenAiTest, AsksWithAPromptAsAMessageOfTheUser) {
  outcome_of(streams({done}));
  EXPECT_EQ(asked(), boost::json::parse(R"({"messages":[{"role":"user","content":"Hi"}],"model":"tiny","stream":true,
                                            "stream_options":{"include_usage":true}})"));
  EXPECT_FALSE(server.calls.back().headers.contains("authorization"));
}

TEST_F(OpenAiTest, PassesOnWhatTheInputHolds) {
  outcome_of(streams({done}),
             R"({"messages":[{"role":"system","content":"Be brief"},{"role":"user","content":[{"type":"text","text":"Hi"}]}],
      "model":"large","max_tokens":5,"temperature":0.25,"top_p":1,"seed":42,"stop":["\n"],"logit_bias":{"7":-100},"n":8,"user":null,"stream":false,
      "stream_options":{"include_usage":false},"prompt":null})");
  EXPECT_EQ(asked(), boost::json::parse(
                         R"({"messages":[{"role":"system","content":"Be brief"},{"role":"user","content":[{"type":"text","text":"Hi"}]}],
      "model":"large","max_tokens":5,"temperature":0.25,"top_p":1,"seed":42,"stop":["\n"],"logit_bias":{"7":-100},"stream":true,
      "stream_options":{"include_usage":true}})"));
}

TEST_F(OpenAiTest, AsksForTheModelOfTheTaskOrOfTheOperatorOrTheServersFirst) {
  server.at[chat_path] = streams({done});
  const auto model_of = [&](const char* input) -> Awaitable<std::string> {
    RecordedRun run(bench.environment, task_of(input));
    co_await executor->run(run);
    co_return std::string(server.calls.back().input().at("model").as_string());
  };
  serve([&]() -> Awaitable<void> {
    EXPECT_EQ(co_await model_of(R"({"prompt":"Hi"})"), "tiny");
    EXPECT_EQ(co_await model_of(R"({"prompt":"Hi","model":"large"})"), "large");
  });
  serve([&]() -> Awaitable<void> { EXPECT_EQ(co_await model_of(R"({"prompt":"Hi"})"), "large"); }, "/v1#large");
}

TEST_F(OpenAiTest, TakesAUrlWithAndWithoutV1) {
  for (const char* const behind : {"", "/", "/v1", "/v1/"}) {
    serve(
        [&]() -> Awaitable<void> {
          EXPECT_EQ(executor->models(), (std::vector<std::string>{"tiny", "large"}));
          co_return;
        },
        behind);
  }
  server.at["/llm/v1/models"] = server.at[models_path];
  serve(
      [&]() -> Awaitable<void> {
        EXPECT_EQ(executor->models().size(), 2U);
        EXPECT_EQ(server.calls.back().path, "/llm/props");
        co_return;
      },
      "/llm/v1");
}

TEST_F(OpenAiTest, RefusesASpecThatItDoesNotUnderstand) {
  for (const char* const wrong :
       {"openai:127.0.0.1:8080", "openai:#tiny", "openai:http://h/v1#", "openai:ftp://h/", "openai:http://me:pw@h/"}) {
    EXPECT_THROW(make_executor(wrong, bench.environment), boost::system::system_error) << wrong;
  }
  EXPECT_THROW(make_executor("openai:http://h#" + std::string(limits::model_name + 1, 'x'), bench.environment),
               boost::system::system_error);
  EXPECT_NO_THROW(make_executor("openai:http://h#" + std::string(limits::model_name, 'x'), bench.environment));
  EXPECT_EQ(make_executor("openai", bench.environment)->name(), "openai");
  EXPECT_TRUE(needs_permission("openai:http://h"));
  EXPECT_FALSE(make_executor("openai", bench.environment)->named_only());
  ExecutorSettings settings;
  settings.openai_key = "two words";
  try {
    make_executor("openai:http://h", bench.environment, settings);
    FAIL();
  } catch (const boost::system::system_error& error) {
    EXPECT_EQ(std::string(error.what()).find("two"), std::string::npos);
  }
}

// --- What a server makes of text ---

TEST_F(OpenAiTest, DoesNotMindWhereTheStreamIsCut) {
  const std::string all = delta(
                              "Gr\xc3\xbc\xc3\x9f "
                              "\xf0\x9f\x98\x80") +
                          "data: {\"choices\":[{\"delta\":{\"content\":\"\\ud83d\\ude00\"}}]}\r\n\r\n" + done;
  for (std::size_t cut = 1; cut < all.size(); cut += 3) {
    const Outcome outcome = outcome_of(streams({all.substr(0, cut), all.substr(cut)}));
    EXPECT_EQ(outcome.status, Status::completed) << cut;
    ASSERT_EQ(output, "Gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80\xf0\x9f\x98\x80") << cut;
  }
}

TEST_F(OpenAiTest, MakesTextOfWhatIsNone) {
  const auto content = [](const std::string& text) { return "data: {\"choices\":[{\"delta\":{\"content\":\"" + text + "\"}}]}\n\n"; };
  const std::string mark = "\xef\xbf\xbd";
  const Outcome outcome = outcome_of(streams({content("a\\ud83d"), content("\\uDE00b"), content("\\ud83d\\ud83d\\ude00\\\\ud83d"),
                                              content("\xf0\x9f"), content("c\xff"), finished()}));
  EXPECT_EQ(outcome.status, Status::completed);
  EXPECT_EQ(output, "a" + mark + mark + "b" + mark + "\xf0\x9f\x98\x80\\ud83d" + mark + "c" + mark);
}

TEST_F(OpenAiTest, HasNoResultOfAModelThatWantsAToolCalled) {
  const Outcome outcome = outcome_of(streams(
      {"data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0}]},\"finish_reason\":\"tool_calls\"}]}\n\n", done}));
  EXPECT_EQ(outcome.status, Status::failed);
  EXPECT_NE(outcome.error->message.find("leave `tools` out"), std::string::npos) << outcome.error->message;
}

TEST_F(OpenAiTest, SendsAKeyOfTheEnvironmentToOthersOverTlsAlone) {
  const auto said_of = [this](const std::string& url, bool in_clear) {
    const std::size_t before = bench.log.size();
    OpenAiExecutor(url, bench.environment, "sk-secret", in_clear);
    return bench.log.size() == before ? std::string() : bench.log.back();
  };
  EXPECT_NE(said_of("http://192.0.2.1:8080", false).find("is not sent to http://192.0.2.1:8080"), std::string::npos);
  EXPECT_NE(said_of("http://gpubox:8080/v1", false).find("is not sent to http://gpubox:8080"), std::string::npos);
  for (const std::string url : {"https://gpubox:8080", "http://127.0.0.1:1", "http://localhost:1/v1", "http://[::1]:1"}) {
    EXPECT_EQ(said_of(url, false), "") << url;
  }
  EXPECT_EQ(said_of("http://192.0.2.1:8080", true), "");
  serve([&]() -> Awaitable<void> {
    std::string here = server.url();
    here.replace(here.find("127.0.0.1"), 9, "0.0.0.0");  // where Linux finds itself, and which no rule takes for this machine
    for (const bool in_clear : {false, true}) {
      server.calls.clear();
      OpenAiExecutor asking(here, bench.environment, "sk-secret", in_clear);
      const std::size_t said = bench.log.size();
      asking.start();
      while (bench.log.size() == said) co_await turn(bench.environment.loop);
      co_await asking.stop();
      EXPECT_FALSE(server.calls.empty());
      for (const Call& call : server.calls) EXPECT_EQ(call.headers.contains("authorization"), in_clear);
    }
  });
}

TEST_F(OpenAiTest, TakesTheFirstChoiceAlone) {
  EXPECT_EQ(outcome_of(streams({"data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"no\"},\"finish_reason\":\"length\"},"
                                "{\"index\":0,\"delta\":{\"content\":\"yes\"}},7,{\"delta\":null}]}\n\n",
                                done}))
                .finish_reason,
            std::nullopt);
  EXPECT_EQ(output, "yes");
}

// --- Ends ---

TEST_F(OpenAiTest, IsCompletedByDoneOrByAFinishReason) {
  EXPECT_EQ(outcome_of(streams({delta("a"), done})).status, Status::completed);
  EXPECT_EQ(outcome_of(streams({delta("a"), finished()})).status, Status::completed);
  EXPECT_EQ(outcome_of(streams({delta("a"), finished()}, false)).status, Status::completed);
  EXPECT_EQ(output, "a");
}

TEST_F(OpenAiTest, DoesNotWaitForDoneWithoutEnd) {
  server.at[chat_path] = [&](Call& call) -> Awaitable<void> {
    co_await call.begin();
    std::string end = delta("a") + finished();
    co_await call.chunk(std::move(end));
    co_await call.gone();
  };
  serve([&]() -> Awaitable<void> {
    RecordedRun run(bench.environment, task_of(R"({"prompt":"Hi"})"));
    TaskGroup running(bench.environment.loop);
    std::optional<Outcome> outcome;
    const auto work = [&]() -> Awaitable<void> { outcome = co_await executor->run(run); };
    const std::size_t idle = bench.clock.waiting();
    running.spawn(work());
    while (run.output.empty() || bench.clock.waiting() == idle) co_await turn(bench.environment.loop);
    bench.clock.advance(limits::http_answer);
    co_await running.join();
    EXPECT_EQ(outcome->status, Status::completed);
    EXPECT_EQ(outcome->finish_reason, "stop");
  });
}

TEST_F(OpenAiTest, FailsWithThePartialOutputWhenTheStreamBreaks) {
  expect(outcome_of(streams({delta("half")}, false)), Status::failed, "executor_failed",
         "the connection ended in the middle of its answer");
  EXPECT_EQ(output, "half");
  expect(outcome_of(streams({delta("half")})), Status::failed, "executor_failed", "the server ended its answer in the middle");
  EXPECT_EQ(output, "half");
  expect(outcome_of(streams({delta("half"), "data: {not json}\n\n", done})), Status::failed, "executor_failed", "not JSON");
  EXPECT_EQ(output, "half");
  expect(outcome_of(streams({delta("half"), "data: [1]\n\n", done})), Status::failed, "executor_failed", "not JSON");
  expect(outcome_of(streams({delta("half"), "data: " + std::string(limits::event_line, 'x')})), Status::failed, "executor_failed",
         "a server-sent event is too large");
  EXPECT_EQ(output, "half");
}

// Names that have one hash, as anybody can choose them, are compared each with each.
TEST_F(OpenAiTest, RefusesAnEventWithMoreNamesThanCanBeCompared) {
  const auto event = [](std::size_t names) {
    std::string text = R"(data: {"choices":[{"delta":{"content":"x"}}])";
    for (std::size_t i = 0; i < names; ++i) text += ",\"" + std::to_string(i) + "\":0";
    return text + "}\n\n";
  };
  EXPECT_EQ(outcome_of(streams({event(4000), done})).status, Status::completed);
  EXPECT_EQ(output, "x");
  expect(outcome_of(streams({event(100'000), done})), Status::failed, "executor_failed", "not JSON");
  EXPECT_EQ(output, "");
}

TEST_F(OpenAiTest, SaysWhatTheServerSaysInTheStream) {
  const Outcome outcome = outcome_of(streams({delta("half"), "data: {\"error\":{\"code\":500,\"message\":\"out of memory\"}}\n\n", done}));
  expect(outcome, Status::failed, "executor_failed", "out of memory");
  EXPECT_EQ(output, "half");
  EXPECT_EQ(outcome.model, "tiny-q4");
  expect(outcome_of(streams({"event: error\ndata: {\"message\":\"overloaded\"}\n\n", done})), Status::failed, "executor_failed",
         "overloaded");
  expect(outcome_of(streams({"data: {\"error\":\"in one word\"}\n\n", done})), Status::failed, "executor_failed", "in one word");
  const Outcome cut = outcome_of(streams({"data: {\"error\":\"" + std::string(limits::event_line / 2, 'x') + "\"}\n\n", done}));
  expect(cut, Status::failed, "executor_failed", std::string(limits::text_shown, 'x'));
  EXPECT_LT(cut.error->message.size(), limits::text_shown + 100);
}

TEST_F(OpenAiTest, FailsWhenTheAnswerIsNoStream) {
  expect(outcome_of(answers(200, "<html>hello</html>")), Status::failed, "executor_failed", "did not answer with a stream of events");
  const auto endless = [](Call& call) -> Awaitable<void> {
    std::string bytes = "HTTP/1.1 200 OK\r\nX: " + std::string(100'000, 'x');
    co_await call.send(std::move(bytes));
  };
  expect(outcome_of(endless), Status::failed, "executor_failed", "has a header that is too long");
  EXPECT_EQ(output, "");
}

TEST_F(OpenAiTest, EndsTheRequestWhenTheOutputIsTooLarge) {
  server.at[chat_path] = [](Call& call) -> Awaitable<void> {
    co_await call.begin();
    while (!call.closed()) {
      std::string text = delta("a piece");
      co_await call.chunk(std::move(text));
    }
  };
  serve([&]() -> Awaitable<void> {
    RecordedRun run(bench.environment, task_of(R"({"prompt":"Hi"})"), 100);
    bool too_large = false;
    try {
      co_await executor->run(run);
    } catch (const boost::system::system_error& error) {
      too_large = is(error, Errc::too_large);
    }
    EXPECT_TRUE(too_large);
    Call* const call = co_await server.call(chat_path);
    co_await call->gone();
  });
}

// --- Cancelling ---

TEST_F(OpenAiTest, ClosesTheRequestWhenTheTaskIsStopped) {
  const auto before_the_head = [](Call& call) -> Awaitable<void> { co_await call.gone(); };
  const auto in_the_body = [](Call& call) -> Awaitable<void> {
    co_await call.begin();
    std::string text = delta("half");
    co_await call.chunk(std::move(text));
    co_await call.gone();
  };
  const auto in_an_error = [](Call& call) -> Awaitable<void> {
    co_await call.send("HTTP/1.1 500 No\r\nContent-Length: 10\r\n\r\n");
    co_await call.gone();
  };
  std::size_t count = 0;
  for (const OpenAiServer::Script& script :
       {OpenAiServer::Script(before_the_head), OpenAiServer::Script(in_the_body), OpenAiServer::Script(in_an_error)}) {
    server.at[chat_path] = script;
    ++count;
    serve([&]() -> Awaitable<void> {
      RecordedRun run(bench.environment, task_of(R"({"prompt":"Hi"})"));
      TaskGroup running(bench.environment.loop);
      std::optional<Outcome> outcome;
      const auto work = [&]() -> Awaitable<void> { outcome = co_await executor->run(run); };
      running.spawn(work());
      Call* const call = co_await server.call(chat_path, count);
      while (count == 2 && run.output.empty()) co_await turn(bench.environment.loop);
      run.stop();
      co_await running.join();
      EXPECT_EQ(outcome->status, Status::cancelled);
      EXPECT_EQ(run.output, count == 2 ? "half" : "");
      co_await call->gone();
      EXPECT_TRUE(call->closed());
    });
  }
}

TEST_F(OpenAiTest, AsksNothingForATaskThatIsStoppedAlready) {
  serve([&]() -> Awaitable<void> {
    RecordedRun run(bench.environment, task_of(R"({"prompt":"Hi"})"));
    run.stop();
    EXPECT_EQ((co_await executor->run(run)).status, Status::cancelled);
    EXPECT_NE(server.calls.back().path, chat_path);
  });
}

// --- What the server refuses ---

TEST_F(OpenAiTest, RejectsWhatTheServerFindsInvalid) {
  const Outcome outcome =
      outcome_of(answers(400, R"({"error":{"message":"temperature must not be negative","type":"invalid_request_error"}})"));
  expect(outcome, Status::rejected, "invalid_task", "temperature must not be negative");
  EXPECT_EQ(output, "");
  expect(outcome_of(answers(422, R"({"detail":"no such field"})")), Status::rejected, "invalid_task", "no such field");
  expect(outcome_of(answers(413, "too long for me")), Status::rejected, "too_large", "too long for me");
}

TEST_F(OpenAiTest, SaysThatTheKeyWasRefusedWithoutTellingIt) {
  for (const unsigned status : {401U, 403U}) {
    const Outcome outcome = outcome_of(
        answers(
            status,
            R"({"error":{"message":"Incorrect API key provided: sk-prob*******wxyz. It was sk-probably-secret-wxyz, or 'sk-probably-secret-wxyz'"}})"),
        R"({"prompt":"Hi"})", "sk-probably-secret-wxyz");
    expect(outcome, Status::failed, "executor_failed", "refused the provider's key");
    expect(outcome, Status::failed, "executor_failed", "Incorrect API key provided: [key] It was [key], or '[key]'");
    EXPECT_EQ(outcome.error->message.find("wxyz"), std::string::npos) << outcome.error->message;
    EXPECT_EQ(server.calls.back().headers["authorization"], "Bearer sk-probably-secret-wxyz");
  }
  for (const std::string& line : bench.log) EXPECT_EQ(line.find("sk-"), std::string::npos) << line;
}

TEST_F(OpenAiTest, TellsNoKeyWithWhatEndsOne) {
  // A key that was copied together with its quotation marks, say.
  for (const std::string key : {"\"sk-abcdef\"", "'sk-abcdef'", "sk-ab,cdef", "sk-abcd,ef"}) {
    const Outcome outcome = outcome_of(answers(401, "not " + key + " nor " + key), R"({"prompt":"Hi"})", key);
    expect(outcome, Status::failed, "executor_failed", "not [key] nor [key]");
  }
}

TEST_F(OpenAiTest, NamesTheModelsThereAreWhenOneIsNot) {
  const Outcome outcome =
      outcome_of(answers(404, R"({"error":{"message":"model 'large' not found"}})"), R"({"prompt":"Hi","model":"large"})");
  expect(outcome, Status::rejected, "unsupported_model", "model 'large' not found; there are: tiny, large");
}

TEST_F(OpenAiTest, IsBusyForAsLongAsTheServerSays) {
  Outcome outcome = outcome_of(answers(429, R"({"error":{"message":"slow down"}})", "Retry-After: 7\r\n"));
  expect(outcome, Status::rejected, "busy", "slow down");
  EXPECT_EQ(outcome.error->retry_after_ms, 7000U);
  outcome = outcome_of(answers(429, "", "Retry-After: Sat, 17 Jan 2026 10:01:00 GMT\r\n"));
  EXPECT_EQ(outcome.error->retry_after_ms, 60'000U);
  outcome = outcome_of(answers(429, ""));
  expect(outcome, Status::rejected, "busy", "no reason given");
  EXPECT_GT(outcome.error->retry_after_ms.value_or(0), 0U);
}

TEST_F(OpenAiTest, FailsWhenTheServerDoes) {
  expect(outcome_of(answers(500, R"({"error":{"message":"the GPU is on fire"}})")), Status::failed, "executor_failed",
         "500: the GPU is on fire");
  expect(outcome_of(answers(503, "Loading model")), Status::failed, "executor_failed", "503: Loading model");
  expect(outcome_of(answers(307, "", "Location: /elsewhere\r\n")), Status::failed, "executor_failed", "not followed");
  // A result is UTF-8, whatever a server writes.
  expect(outcome_of(answers(302, "", "Location: http://h/\xe9\r\n")), Status::failed, "executor_failed", "http://h/%E9,");
  const Outcome cut = outcome_of(answers(500, std::string(2 * limits::http_body, 'x')));
  expect(cut, Status::failed, "executor_failed", std::string(limits::text_shown, 'x'));
  EXPECT_LT(cut.error->message.size(), limits::text_shown + 100);
}

TEST_F(OpenAiTest, DoesNotWaitWithoutEndForAReason) {
  server.at[chat_path] = [&](Call& call) -> Awaitable<void> {
    co_await call.send("HTTP/1.1 500 No\r\nContent-Length: 10\r\n\r\nhalf");
    co_await call.gone();
  };
  serve([&]() -> Awaitable<void> {
    RecordedRun run(bench.environment, task_of(R"({"prompt":"Hi"})"));
    TaskGroup running(bench.environment.loop);
    Outcome outcome;
    const auto work = [&]() -> Awaitable<void> { outcome = co_await executor->run(run); };
    const std::size_t idle = bench.clock.waiting();
    running.spawn(work());
    co_await server.call(chat_path);
    while (bench.clock.waiting() == idle) co_await turn(bench.environment.loop);
    bench.clock.advance(limits::http_answer);
    co_await running.join();
    expect(outcome, Status::failed, "executor_failed", "500: half");
  });
}

// --- Which models there are ---

TEST_F(OpenAiTest, OffersTheModelsOfTheServerWhileItIsThere) {
  bench.run([&]() -> Awaitable<void> {
    server.start();
    co_await server.stop();  // its port is known, and nobody is there
    executor = std::make_unique<OpenAiExecutor>(server.url(), bench.environment, "");
    EXPECT_TRUE(executor->unready());
    executor->start();
    co_await looked();
    EXPECT_TRUE(executor->models().empty());
    EXPECT_EQ(executor->unready()->code, "busy");
    EXPECT_EQ(executor->unready()->retry_after_ms, 1000U);
    EXPECT_NE(executor->unready()->message.find("Connection refused"), std::string::npos) << executor->unready()->message;
    RecordedRun early(bench.environment, task_of(R"({"prompt":"Hi"})"));
    Outcome outcome = co_await executor->run(early);
    expect(outcome, Status::rejected, "busy", "no OpenAI-compatible server is there");

    server.start();
    bench.clock.advance(limits::models_fresh_missing);
    co_await looked();
    EXPECT_FALSE(executor->unready());
    EXPECT_EQ(executor->models(), (std::vector<std::string>{"tiny", "large"}));

    server.models = {"other"};
    bench.clock.advance(limits::models_fresh);
    co_await looked();
    EXPECT_EQ(executor->models(), std::vector<std::string>{"other"});

    // Gone, it is missed by the next task, or by the next look.
    co_await server.stop();
    RecordedRun late(bench.environment, task_of(R"({"prompt":"Hi"})"));
    outcome = co_await executor->run(late);
    expect(outcome, Status::failed, "executor_failed", "could not connect: Connection refused");
    co_await looked();
    EXPECT_TRUE(executor->models().empty());
    EXPECT_TRUE(executor->unready());
    co_await executor->stop();
    EXPECT_EQ(bench.clock.waiting(), 0U);
  });
}

TEST_F(OpenAiTest, OffersOneModelWhenToldWhich) {
  serve(
      [&]() -> Awaitable<void> {
        EXPECT_EQ(executor->models(), std::vector<std::string>{"large"});
        server.models = {"tiny"};
        bench.clock.advance(limits::models_fresh);
        co_await looked();
        EXPECT_TRUE(executor->models().empty());
        EXPECT_FALSE(executor->unready());
        EXPECT_NE(bench.log.back().find("does not have the model large"), std::string::npos);
        server.models = {"tiny", "large:latest"};
        bench.clock.advance(limits::models_fresh);
        co_await looked();
        EXPECT_EQ(executor->models(), std::vector<std::string>{"large"});
      },
      "/v1#large");
}

TEST_F(OpenAiTest, OffersNoMoreModelsThanItsLimitsAllow) {
  server.models.clear();
  for (std::size_t i = 0; i < limits::models_offered; ++i) server.models.push_back("model-" + std::to_string(i));
  server.models.insert(server.models.begin(), {std::string(limits::model_name + 1, 'x'), "model-0", ""});
  server.models.push_back("one more");
  server.models.push_back(std::string(limits::model_name, 'y'));
  serve([&]() -> Awaitable<void> {
    EXPECT_EQ(executor->models().size(), limits::models_offered);
    EXPECT_EQ(executor->models().front(), "model-0");
    EXPECT_EQ(executor->models().back(), "model-" + std::to_string(limits::models_offered - 1));
    co_return;
  });
  serve(
      [&]() -> Awaitable<void> {
        EXPECT_EQ(executor->models(), std::vector<std::string>{std::string(limits::model_name, 'y')});
        co_return;
      },
      "#" + std::string(limits::model_name, 'y'));
}

TEST_F(OpenAiTest, IsNotReadyWhileTheServerHasNoList) {
  for (const OpenAiServer::Script& script :
       {answers(503, R"({"error":{"message":"Loading model"}})"), answers(404, "not here"), answers(200, "[]"),
        answers(200, R"({"data":7})"), answers(200, "<html>"), answers(302, "", "Location: /login\r\n"),
        answers(200, std::string(limits::http_body + 1, ' '))}) {
    server.at[models_path] = script;
    serve([&]() -> Awaitable<void> {
      EXPECT_TRUE(executor->unready());
      EXPECT_TRUE(executor->models().empty());
      co_return;
    });
  }
}

TEST_F(OpenAiTest, IsReadyToSayThatItsKeyIsRefused) {
  server.at[models_path] = answers(401, "who are you?");
  const Outcome outcome = outcome_of(answers(401, "who are you?"), R"({"prompt":"Hi","model":"openai"})");
  expect(outcome, Status::failed, "executor_failed", "refused the provider's key");
  EXPECT_FALSE(asked().contains("model"));
}

TEST_F(OpenAiTest, StopsInTheMiddleOfALook) {
  server.at[models_path] = [](Call& call) -> Awaitable<void> { co_await call.gone(); };
  bench.run([&]() -> Awaitable<void> {
    server.start();
    executor = std::make_unique<OpenAiExecutor>(server.url(), bench.environment, "");
    executor->start();
    Call* const call = co_await server.call(models_path);
    co_await executor->stop();
    co_await call->gone();
    EXPECT_EQ(bench.clock.waiting(), 0U);
    co_await server.stop();
  });
}

TEST_F(OpenAiTest, DoesNotWaitWithoutEndForTheModels) {
  server.at[models_path] = [&](Call& call) -> Awaitable<void> {
    bench.clock.advance(limits::http_answer);
    co_await call.gone();
  };
  serve([&]() -> Awaitable<void> {
    EXPECT_NE(executor->unready()->message.find("no answer in time"), std::string::npos) << executor->unready()->message;
    co_return;
  });
}

TEST_F(OpenAiTest, KeepsAServerThatIsSlowToSayItsModels) {
  serve([&]() -> Awaitable<void> {
    const OpenAiServer::Script quick = server.at[models_path];
    server.at[models_path] = [&](Call& call) -> Awaitable<void> {
      bench.clock.advance(limits::http_answer);
      co_await call.gone();
    };
    bench.clock.advance(limits::models_fresh);
    Call* const call = co_await server.call(models_path, 2);
    co_await call->gone();
    for (int i = 0; i < 20; ++i) co_await turn(bench.environment.loop);  // what is left of that look needs nobody else
    server.at[models_path] = quick;
    bench.clock.advance(limits::models_fresh);
    co_await server.call(models_path, 3);
    EXPECT_FALSE(executor->unready());
    EXPECT_EQ(executor->models().size(), 2U);
  });
}

TEST_F(OpenAiTest, HasAsManySlotsAsLlamaCppSays) {
  serve([&]() -> Awaitable<void> {
    EXPECT_EQ(executor->slots(), 4U);  // nothing is at /props
    co_return;
  });
  struct Case {
    const char* props;
    std::size_t slots;
  };
  for (const Case& one :
       {Case{R"({"total_slots":7})", 7}, Case{R"({"total_slots":0})", 4}, Case{R"({"total_slots":"x"})", 4}, Case{"[]", 4},
        Case{R"({"total_slots":64})", limits::server_slots}, Case{R"({"total_slots":65})", limits::server_slots}}) {
    server.at["/props"] = answers(200, one.props);
    serve([&]() -> Awaitable<void> {
      EXPECT_EQ(executor->slots(), one.slots) << one.props;
      co_return;
    });
  }
}

// --- Without an address ---

struct SearchTest : OpenAiTest {
  /// Runs `course` in a process with a loopback interface of its own, where no such server is yet.
  void alone(const std::function<Awaitable<void>()>& course) {
    const pid_t child = fork();
    if (child == 0) {
      if (!enter_own_network()) _exit(77);
      bench.run(course);
      _exit(HasFailure() ? 1 : 0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) GTEST_SKIP() << "there is no network of its own to be had";
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
};

TEST_F(SearchTest, SaysWhereItLooked) {
  alone([&]() -> Awaitable<void> {
    executor = std::make_unique<OpenAiExecutor>("", bench.environment, "");
    executor->start();
    co_await looked();
    EXPECT_EQ(executor->unready().value().message,
              "no OpenAI-compatible server is there; tried http://127.0.0.1:11434: could not connect: Connection refused; "
              "http://127.0.0.1:1234: could not connect: Connection refused; http://127.0.0.1:8080: could not connect: Connection refused; "
              "http://127.0.0.1:8000: could not connect: Connection refused");
    EXPECT_EQ(bench.log.back(), "openai: " + executor->unready()->message);
    co_await executor->stop();
  });
}

TEST_F(SearchTest, TakesTheFirstThatAnswersAndAnotherWhenThatIsGone) {
  alone([&]() -> Awaitable<void> {
    OpenAiServer other(bench.environment);  // of something else
    OpenAiServer second(bench.environment);
    other.at[models_path] = answers(401, "who are you?");
    server.models = {"first"};
    second.models = {"second"};
    other.start(11434);
    server.start(1234);
    second.start(8000);
    executor = std::make_unique<OpenAiExecutor>("", bench.environment, "sk-secret");
    executor->start();
    co_await looked();
    EXPECT_EQ(executor->models(), std::vector<std::string>{"first"});
    EXPECT_TRUE(second.calls.empty());

    co_await server.stop();
    bench.clock.advance(limits::models_fresh);
    co_await looked();
    EXPECT_TRUE(executor->unready());
    bench.clock.advance(limits::models_fresh_missing);
    co_await looked();
    EXPECT_EQ(executor->models(), std::vector<std::string>{"second"});

    // A key is for a server that the operator named, and for nobody who happens to be there.
    for (const OpenAiServer* const each : {&other, &server, &second}) {
      for (const Call& call : each->calls) EXPECT_FALSE(call.headers.contains("authorization"));
    }
    co_await executor->stop();
    co_await other.stop();
    co_await second.stop();
  });
}

}  // namespace
}  // namespace p2p::test
