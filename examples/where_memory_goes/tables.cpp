#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "report.h"

namespace where_memory_goes {
namespace {

constexpr int kCell = 10;

std::vector<Row> joined(const std::vector<std::vector<Row>>& lists) {
  std::vector<Row> all;
  for (const auto& list : lists) {
    all.insert(all.end(), list.begin(), list.end());
  }
  return all;
}

std::string cell(int64_t bytes) {
  return fmt::format("{:>{}.3f}", mib(bytes), kCell);
}

std::string empty(const char* mark = "") {
  return fmt::format("{:>{}}", mark, kCell);
}

bool same_name(const Row& a, const Row& b) {
  return a.group == b.group && a.name == b.name;
}

std::string cell_of(const std::vector<Row>& rows, const Row& name) {
  const auto found =
      std::find_if(rows.begin(), rows.end(), [&](const Row& row) {
        return same_name(row, name);
      });
  return found == rows.end() ? empty(".") : cell(found->bytes);
}

/// A line of the table: what is kept, what exists again.
std::string line(
    const std::string& name,
    const std::vector<Account>& accounts,
    const std::function<std::string(const Account&)>& kept,
    const std::function<std::string(const Account&)>& again) {
  auto text = fmt::format("{:36}", name);
  for (const auto& account : accounts) {
    text += kept(account);
    if (!account.again.empty()) {
      text += again(account);
    }
  }
  text.erase(text.find_last_not_of(' ') + 1);
  return text + "\n";
}

std::string headings(const std::vector<Account>& accounts) {
  auto ways = fmt::format("{:36}", "One layer, MiB");
  for (const auto& account : accounts) {
    ways += fmt::format(
        "{:>{}}", account.name, account.again.empty() ? kCell : 2 * kCell);
  }
  return ways + "\n" +
         line(
             "",
             accounts,
             [](const Account&) { return empty("kept"); },
             [](const Account&) { return empty("again"); });
}

/// Each name of a group once, in the order of the operations.
std::vector<Row> names_of(const std::vector<Account>& accounts, Group group) {
  std::vector<Row> names;
  for (const auto& account : accounts) {
    for (const auto& row : joined({account.kept, joined(account.again)})) {
      const bool known =
          std::any_of(names.begin(), names.end(), [&](const Row& name) {
            return same_name(row, name);
          });
      if (row.group == group && !known) {
        names.push_back(row);
      }
    }
  }
  return names;
}

std::string lines_of(
    const std::vector<Account>& accounts, Group group, const char* heading) {
  auto text = fmt::format("{}\n", heading);
  for (const auto& name : names_of(accounts, group)) {
    text += line(
        "  " + name.name,
        accounts,
        [&](const Account& account) { return cell_of(account.kept, name); },
        [&](const Account& account) {
          return cell_of(joined(account.again), name);
        });
  }
  return text;
}

std::string sums(const std::vector<Account>& accounts) {
  const auto nothing = [](const Account&) { return empty(); };
  const auto kept = [](bool once) {
    return [once](const Account& account) { return cell(account.named(once)); };
  };
  const auto unnamed = [](const Account& account) {
    return cell(account.unnamed(/*once=*/true) + account.unnamed(false));
  };
  const auto at_once = [](const Account& account) {
    return cell(bytes_of(account.at_once()));
  };
  return line("kept for each layer", accounts, kept(false), nothing) +
         line("kept once for all layers", accounts, kept(true), nothing) +
         line("kept without a name", accounts, unnamed, nothing) +
         line(
             "exists again at a time",
             accounts,
             [](const Account&) { return empty(); },
             at_once);
}

}  // namespace

std::string table_of_names(const std::vector<Account>& accounts) {
  return headings(accounts) + lines_of(accounts, Group::kStreams, "streams") +
         lines_of(accounts, Group::kAttention, "attention, F") +
         lines_of(accounts, Group::kFeedForward, "feed-forward, G") +
         sums(accounts);
}

std::string table_of_totals(
    const std::vector<Account>& accounts, const Arguments& arguments) {
  auto text = fmt::format("{:26}", "A training step, MiB");
  for (const auto depth : arguments.depths) {
    text += fmt::format("{:>20}", fmt::format("depth {}", depth));
  }
  text += fmt::format("\n{:26}", "");
  for (std::size_t i = 0; i < arguments.depths.size(); ++i) {
    text += empty("kept") + empty("peak");
  }
  for (const auto& account : accounts) {
    text += fmt::format("\n{:26}", account.name);
    for (const auto depth : arguments.depths) {
      const auto& total = account.totals.at(depth);
      text += cell(total.kept) + cell(total.peak);
    }
  }
  return text + "\n";
}

std::string csv(const std::vector<Account>& accounts) {
  static constexpr const char* kGroups[] = {
      "streams", "attention", "feed-forward"};
  std::string text = "way,part,name,bytes\n";
  for (const auto& account : accounts) {
    const auto add = [&](const std::string& part,
                         const std::string& name,
                         int64_t bytes) {
      text += fmt::format("{},{},\"{}\",{}\n", account.name, part, name, bytes);
    };
    const auto add_rows = [&](const char* what, const std::vector<Row>& rows) {
      for (const auto& row : rows) {
        const auto* group = kGroups[static_cast<int>(row.group)];
        add(fmt::format("{} {}", what, group), row.name, row.bytes);
      }
    };
    add_rows("kept", account.kept);
    add_rows("again", joined(account.again));
    add("sum", "one layer", account.one_layer);
    add("sum", "another layer", account.another_layer);
    add("sum", "at once", bytes_of(account.at_once()));
    for (const auto& [depth, total] : account.totals) {
      add(fmt::format("depth {}", depth), "kept", total.kept);
      add(fmt::format("depth {}", depth), "peak", total.peak);
    }
  }
  return text;
}

}  // namespace where_memory_goes
