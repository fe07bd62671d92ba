#include "executors/program.hpp"

#include "base/error.hpp"
#include "base/limits.hpp"
#include "support/paths.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>
#include <boost/system/system_error.hpp>
#include <filesystem>
#include <fstream>

namespace p2p::test {
namespace {

using Words = std::vector<std::string>;

std::string complaint(const std::function<void()>& call) {
  try {
    call();
  } catch (const boost::system::system_error& error) {
    EXPECT_TRUE(is(error, Errc::invalid));
    return message_of(error);
  }
  return {};
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

TEST(SplitWords, SplitsAtBlanksWithPosixQuotesAndExpandsNothing) {
  EXPECT_EQ(split_words(""), Words());
  EXPECT_EQ(split_words(" \t\n "), Words());
  EXPECT_EQ(split_words("  wc   -l\t-c\n"), (Words{"wc", "-l", "-c"}));
  EXPECT_EQ(split_words("a 'b  c' \"d  e\" f\\ g"), (Words{"a", "b  c", "d  e", "f g"}));
  EXPECT_EQ(split_words("a'b'\"c\"d ''  \"\""), (Words{"abcd", "", ""}));
  EXPECT_EQ(split_words(R"('a\b' "a\b" "a\"b\\c\$d\`e" a\b\'c)"), (Words{R"(a\b)", R"(a\b)", R"(a"b\c$d`e)", "ab'c"}));
  EXPECT_EQ(split_words("$HOME *.c ~ | > # \"$X\" '`y`'"), (Words{"$HOME", "*.c", "~", "|", ">", "#", "$X", "`y`"}));
  EXPECT_EQ(split_words("\"it's\" 'say \"x\"'"), (Words{"it's", "say \"x\""}));
}

TEST(SplitWords, RefusesQuotesThatAreNotClosed) {
  for (const char* const open : {"'", "a 'b", "a \"b", "\"a\\\""}) {
    EXPECT_TRUE(has(complaint([open] { split_words(open); }), "is not closed")) << open;
  }
  EXPECT_TRUE(has(complaint([] { split_words("a\\"); }), "quotes nothing"));
  EXPECT_TRUE(has(complaint([] { split_words("\"a\\"); }), "quotes nothing"));
}

TEST(FindProgram, SearchesPathForANameWithoutASlash) {
  const Program found = find_program({"sh", "-c", "a b"});
  EXPECT_TRUE(found.path.starts_with('/') && found.path.ends_with("/sh")) << found.path;
  EXPECT_EQ(found.arguments, (Words{"sh", "-c", "a b"}));
}

TEST(FindProgram, MakesARelativePathAbsolute) {
  const std::filesystem::path relative = std::filesystem::relative(unruly_program);
  const Program found = find_program({"./" + relative.string()});
  EXPECT_EQ(found.path, std::filesystem::path(unruly_program).lexically_normal().string());
  EXPECT_EQ(found.arguments.front(), "./" + relative.string());
}

TEST(FindProgram, SaysWhatIsWrongWithAProgramThatCannotRun) {
  EXPECT_TRUE(has(complaint([] { find_program({}); }), "no program"));
  EXPECT_TRUE(has(complaint([] { find_program({""}); }), "no program"));
  EXPECT_TRUE(has(complaint([] { find_program({"no-such-program-anywhere"}); }), "in PATH"));
  EXPECT_TRUE(has(complaint([] { find_program({"./no-such-program"}); }), "there is no program './no-such-program'"));
  EXPECT_TRUE(has(complaint([] { find_program({"/"}); }), "directory"));
  const std::string file = testing::TempDir() + "p2p-not-executable-" + std::to_string(::getpid());
  std::ofstream(file) << "#!/bin/sh\n";
  EXPECT_TRUE(has(complaint([&file] { find_program({file}); }), "not executable"));
  ::chmod(file.c_str(), 0700);
  EXPECT_EQ(find_program({file}).path, file);
  std::filesystem::remove(file);
}

TEST(ExecutorNames, ArePrintableTextOfALimitedLength) {
  for (const std::string& name :
       {std::string("wc"), std::string("a b/c"), std::string("h\xc3\xbc"), std::string(limits::model_name, 'x')}) {
    EXPECT_NO_THROW(check_executor_name(name)) << name;
  }
  for (const std::string& name : {std::string(), std::string("a\nb"), std::string("\x7f"), std::string("\xff"), std::string("a\xc3"),
                                  std::string(limits::model_name + 1, 'x')}) {
    EXPECT_THROW(check_executor_name(name), boost::system::system_error) << name;
  }
}

TEST(FileName, IsTheLastPartOfAPath) {
  EXPECT_EQ(file_name("/usr/bin/wc"), "wc");
  EXPECT_EQ(file_name("wc"), "wc");
  EXPECT_EQ(file_name("./x.py"), "x.py");
}

}  // namespace
}  // namespace p2p::test
