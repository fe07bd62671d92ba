// The library on one page, as the README shows it. Run it beside `p2p-agent serve`.

#include <p2p_agents/p2p_agents.hpp>

#include <iostream>

using namespace p2p;
using std::chrono::seconds;

Awaitable<void> hello(Stream stream) {  // greets whoever opens a stream of /hello/1.0.0
  co_await stream.write(as_bytes("hello\n"));
  co_await stream.finish(seconds(5));
}

Awaitable<void> ask(Agent& agent) {
  agent.handle("/hello/1.0.0", hello);
  agent.start();  // from here on others find it
  try {
    const PeerId peer = co_await agent.next_discovered(agent.environment().clock.now() + seconds(5));
    co_await agent.connect(peer);
    TaskManager tasks(agent);
    const Answer answer = co_await tasks.submit(peer, tasks.make_task("Hello, P2P AI!"));
    std::cout << answer.result.text.value_or("no output") << '\n';
  } catch (const std::exception& error) {
    std::cerr << message_of(error) << '\n';
  }
  co_await agent.stop();  // in any case: the system runs for as long as its agents do
}

int main() {
  System system;
  AgentOptions options;
  options.listen = everywhere(system.environment().transport);
  Agent agent(system.environment(), KeyPair::generate(system.random()), options);
  system.run(ask(agent));
}
