#pragma once
// All of the library: agents, tasks, executors and the system they run on.

#include "executors/command.hpp"
#include "executors/mock.hpp"
#include "executors/registry.hpp"
#include "executors/worker.hpp"
#include "network/agent.hpp"
#include "network/protocol.hpp"
#include "network/system.hpp"
#include "task/executor.hpp"
#include "task/manager.hpp"
#include "task/provider.hpp"
