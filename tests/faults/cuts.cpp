// Cuts the TCP connection between a requester and a provider behind each byte of a whole task's exchange, in each direction: connect,
// identify, task, updates, result, goodbye. The requesters are agents in this process, the providers are p2p-agent's, and between them is a
// proxy. Each course is one task:
//
//   returns  sends the same envelope again until it is answered, which is at the second attempt if the first had no answer
//   leaves   goes when its connection was cut, or soon after the task has begun, which takes much longer
//
// Each attempt ends in time with an answer or with an error that has a name, and behind each course the provider's slot is free: at once,
// or for who leaves after the linger time. Each course is cut, or its exchange ended with fewer bytes than those behind which it was to be.
// Prints one JSON object for each course, and one for all, or ends with 1 and what went wrong.
//
// Usage: cuts MUXER LINGER_MS returns|leaves AT_ONCE PROVIDER...
// PROVIDER is a multiaddr with a PeerId. AT_ONCE is how many courses each provider has at once; with 1 it may have one slot and no queue,
// which is found free behind each course, else behind the last one.

#include "network/agent.hpp"
#include "network/system.hpp"
#include "task/manager.hpp"

#include <algorithm>
#include <array>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/json/serialize.hpp>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <utility>

namespace {

namespace asio = boost::asio;
namespace json = boost::json;
using namespace p2p;
using asio::ip::tcp;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr const char* prompt = "0123456789";
constexpr const char* answer_text = "Processed: 0123456789";
constexpr seconds patience{5};        // of who learns of a cut, which takes no time on a machine that has some
constexpr milliseconds leaving{200};  // after a task was sent that nobody cut
constexpr milliseconds look{2};       // from one look at a provider's slots to the next
constexpr unsigned descriptors_of_a_course = 8;

struct Plan {
  std::string muxer;
  milliseconds linger{};
  bool returns = false;
  std::size_t at_once = 1;  // on each provider
  std::vector<Multiaddr> providers;
};

struct Cut {
  bool from_requester;
  std::uint64_t after;

  std::string text() const { return "after " + std::to_string(after) + " bytes of the " + (from_requester ? "requester" : "provider"); }
};

/// Bytes.
struct Carried {
  std::uint64_t from_requester = 0;
  std::uint64_t from_provider = 0;

  std::uint64_t& of(bool requester) { return requester ? from_requester : from_provider; }
};

/// Between requesters and a provider, one course after another: each with another port would leave none, since the system keeps them for a
/// minute.
class Proxy {
 public:
  Proxy(const Loop& loop, const Multiaddr& provider)
      : acceptor_(loop, {asio::ip::address_v4::loopback(), 0}), accepting_(loop), pumps_(loop) {
    const TcpAddress target = tcp_address(provider).value();
    target_ = {asio::ip::make_address(target.host), target.port};
    accepting_.spawn(accept());
  }

  Multiaddr address() const { return Multiaddr::tcp("127.0.0.1", acceptor_.local_endpoint().port()).value(); }

  /// The next connection is cut there.
  void begin(std::optional<Cut> cut) {
    cut_ = cut;
    has_cut_ = false;
  }
  /// Returns how much the first connection carried.
  Awaitable<Carried> end() {
    for (const auto& pair : pairs_) pair->cut();
    co_await pumps_.join();
    const Carried carried = pairs_.empty() ? Carried() : pairs_.front()->carried;
    pairs_.clear();
    co_return carried;
  }
  Awaitable<void> close() {
    boost::system::error_code ignored;
    acceptor_.close(ignored);
    co_await accepting_.join();
    co_await end();
  }
  bool has_cut() const noexcept { return has_cut_; }

 private:
  struct Pair {
    explicit Pair(const Loop& loop) : requester(loop), provider(loop) {}
    void cut() {
      boost::system::error_code ignored;
      requester.shutdown(tcp::socket::shutdown_both, ignored);
      provider.shutdown(tcp::socket::shutdown_both, ignored);
    }

    tcp::socket requester;
    tcp::socket provider;
    Carried carried;
  };

  Awaitable<void> accept() {
    boost::system::error_code error;
    while (acceptor_.is_open()) {
      auto pair = std::make_unique<Pair>(acceptor_.get_executor());
      co_await acceptor_.async_accept(pair->requester, asio::redirect_error(asio::use_awaitable, error));
      if (!error) co_await pair->provider.async_connect(target_, asio::redirect_error(asio::use_awaitable, error));
      if (error) continue;
      Pair& both = *pairs_.emplace_back(std::move(pair));
      both.requester.set_option(tcp::no_delay(true), error);
      both.provider.set_option(tcp::no_delay(true), error);
      const std::optional<Cut> cut = std::exchange(cut_, std::nullopt);
      pumps_.spawn(pump(both, true, cut && cut->from_requester ? cut : std::nullopt));
      pumps_.spawn(pump(both, false, cut && !cut->from_requester ? cut : std::nullopt));
    }
  }

  Awaitable<void> pump(Pair& pair, bool from_requester, std::optional<Cut> cut) {
    tcp::socket& source = from_requester ? pair.requester : pair.provider;
    tcp::socket& sink = from_requester ? pair.provider : pair.requester;
    std::uint64_t& carried = pair.carried.of(from_requester);
    std::array<std::uint8_t, 16 * 1024> buffer;
    boost::system::error_code error;
    while (!error) {
      const std::uint64_t left = cut ? cut->after - carried : buffer.size();
      if (left == 0) {
        has_cut_ = true;
        co_return pair.cut();
      }
      std::size_t count = co_await source.async_read_some(asio::buffer(buffer), asio::redirect_error(asio::use_awaitable, error));
      if (error) break;
      count = std::min<std::size_t>(count, left);
      carried += co_await asio::async_write(sink, asio::buffer(buffer.data(), count), asio::redirect_error(asio::use_awaitable, error));
    }
    sink.shutdown(tcp::socket::shutdown_send, error);
  }

  tcp::acceptor acceptor_;
  tcp::endpoint target_;
  std::optional<Cut> cut_;
  bool has_cut_ = false;
  std::vector<std::unique_ptr<Pair>> pairs_;
  TaskGroup accepting_;
  TaskGroup pumps_;
};

AgentOptions options_for(const Plan& plan) {
  AgentOptions options;
  options.muxers = {plan.muxer};
  options.mdns = false;
  return options;
}

class Sweep {
 public:
  Sweep(System& system, Plan plan)
      : environment_(system.environment()),
        plan_(std::move(plan)),
        watcher_(environment_, KeyPair::generate(environment_.random), options_for(plan_)),
        watching_(watcher_) {}

  Awaitable<void> run() {
    const std::function<Awaitable<void>()> work = [this] { return go(); };
    return watcher_.run(work);
  }

 private:
  struct Attempt {
    std::string message = {};  // of the error
    std::optional<Answer> answer = {};
    bool left = false;
  };

  Time now() const { return environment_.clock.now(); }

  Awaitable<void> go() {
    for (const Multiaddr& provider : plan_.providers) {
      const std::vector<Multiaddr> addresses(1, provider);
      co_await watcher_.connect(addresses);
    }
    std::vector<std::optional<Cut>> cuts(1);  // none, to know how much there is to cut
    co_await lane(plan_.providers.front(), cuts);
    for (const bool from_requester : {true, false}) {
      const std::uint64_t end = from_requester ? whole_.from_requester : whole_.from_provider;
      for (std::uint64_t after = 0; after < end; ++after) cuts.push_back(Cut{from_requester, after});
    }
    TaskGroup lanes(environment_.loop);
    for (const Multiaddr& provider : plan_.providers) {
      for (std::size_t i = 0; i < plan_.at_once; ++i) lanes.spawn(lane(provider, cuts));
    }
    co_await lanes.join();
    if (!problem_.empty()) throw std::runtime_error(problem_);
    for (const Multiaddr& provider : plan_.providers) co_await expect_free(provider);
    const json::object all{{"positions", whole_.from_requester + whole_.from_provider}, {"cut", cut_}, {"behind", behind_}};
    std::printf("%s\n", json::serialize(all).c_str());
  }

  Awaitable<void> lane(Multiaddr provider, std::vector<std::optional<Cut>>& cuts) {
    Proxy proxy(environment_.loop, provider);
    while (!cuts.empty() && problem_.empty()) {
      const std::optional<Cut> cut = cuts.back();
      cuts.pop_back();
      try {
        co_await course(proxy, provider, cut);
      } catch (const std::exception& error) {
        if (problem_.empty()) problem_ = (cut ? cut->text() : "uncut") + ": " + message_of(error);
      }
    }
    co_await proxy.close();
  }

  Awaitable<void> course(Proxy& proxy, Multiaddr provider, std::optional<Cut> cut) {
    proxy.begin(cut);
    const Multiaddr by_proxy = proxy.address().with_peer_id(*provider.peer_id());
    Agent agent(environment_, KeyPair::generate(environment_.random), options_for(plan_));
    TaskManager manager(agent);
    Task task = manager.make_task(prompt);
    task.stream = true;
    task.linger_ms = static_cast<std::uint64_t>(plan_.linger.count());
    Attempt first;
    const std::function<Awaitable<void>()> work = [&]() -> Awaitable<void> {
      first = co_await attempt(agent, manager, task, by_proxy);
      if (!plan_.returns) co_return;
      agent.disconnect(*provider.peer_id());
      const Attempt again = co_await attempt(agent, manager, task, by_proxy);
      if (!again.answer) throw std::runtime_error("the same task again is not answered: " + again.message);
      if (first.answer && first.answer->result_envelope != again.answer->result_envelope) throw std::runtime_error("it has two results");
    };
    std::exception_ptr failure;
    try {
      co_await agent.run(work);
    } catch (...) {
      failure = std::current_exception();
    }
    Carried carried = co_await proxy.end();
    if (!cut) whole_ = carried;
    if (failure) std::rethrow_exception(failure);
    if (plan_.at_once == 1) co_await expect_free(provider);
    if (!proxy.has_cut() && !first.answer && !first.left) throw std::runtime_error("it was not cut, and failed: " + first.message);
    if (cut) note(*cut, proxy.has_cut(), carried.of(cut->from_requester));
    const json::object event{{"task_id", task.task_id}, {"first", first.answer ? "answered" : first.message}, {"left", first.left}};
    std::printf("%s\n", json::serialize(event).c_str());
  }

  void note(const Cut& cut, bool has_cut, std::uint64_t carried) {
    if (!has_cut && carried >= cut.after) throw std::runtime_error("it was not cut, and carried " + std::to_string(carried));
    ++(has_cut ? cut_ : behind_);
  }

  Awaitable<Attempt> attempt(Agent& agent, TaskManager& manager, Task task, Multiaddr address) {
    Attempt made;
    const PeerId provider = *address.peer_id();
    const std::vector<Multiaddr> addresses(1, address);
    const Time begin = now();
    Timer leave;
    const std::function<void(const std::string&)> on_sent = [&](const std::string&) {
      if (plan_.returns) return;
      leave = environment_.clock.schedule(now() + leaving, [&] {
        made.left = true;
        agent.disconnect(provider);
      });
    };
    try {
      co_await agent.connect(addresses, provider);
      manager.trust(provider);
      made.answer = co_await manager.submit(provider, task, {}, on_sent);
    } catch (const boost::system::system_error& error) {
      made.message = message_of(error);
      if (error.code().category() != error_category() || made.message.empty()) throw std::runtime_error("an error without a name");
      if (is(error, Errc::unverified) || is(error, Errc::malformed)) throw;  // nothing was changed
    }
    if (now() - begin > patience) throw std::runtime_error("it waited for too long");
    if (made.answer) {
      const TaskResult& result = made.answer->result;
      if (result.error) throw std::runtime_error(result.error->code + ": " + result.error->message);
      if (result.text != answer_text) throw std::runtime_error("the answer is another");
    }
    co_return made;
  }

  /// The provider says so, by a connection that nobody cuts.
  Awaitable<void> expect_free(Multiaddr provider) {
    const PeerId peer = *provider.peer_id();
    const Time late = now() + (plan_.returns ? milliseconds(0) : plan_.linger) + patience;
    while (true) {
      const Info info = co_await watching_.info(peer);
      if (info.running + info.waiting == 0) co_return;
      if (now() > late) throw std::runtime_error("the slot is not free");
      const Time next = now() + look;
      co_await watcher_.pause_until(next);
    }
  }

  const Environment& environment_;
  const Plan plan_;
  Agent watcher_;
  TaskManager watching_;
  Carried whole_;
  std::string problem_;
  std::uint64_t cut_ = 0;
  std::uint64_t behind_ = 0;  // positions that the exchange did not get to
};

Plan plan_of(int argc, char** argv) {
  if (argc < 6) throw std::runtime_error("usage: cuts MUXER LINGER_MS returns|leaves AT_ONCE PROVIDER...");
  Plan plan;
  plan.muxer = parse_muxers(argv[1]).at(0);
  plan.linger = milliseconds(std::strtoul(argv[2], nullptr, 10));
  plan.returns = std::string_view(argv[3]) == "returns";
  plan.at_once = std::max(1UL, std::strtoul(argv[4], nullptr, 10));
  for (int i = 5; i < argc; ++i) plan.providers.push_back(Multiaddr::from_text(argv[i]).value());
  return plan;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    System system;
    const Plan plan = plan_of(argc, argv);
    allow_descriptors(descriptors_besides + descriptors_of_a_course * plan.at_once * plan.providers.size());
    Sweep sweep(system, plan);
    system.run(sweep.run());
    return 0;
  } catch (const std::exception& error) {
    std::printf("%s\n", json::serialize(json::object{{"failed", message_of(error)}}).c_str());
    return 1;
  }
}
