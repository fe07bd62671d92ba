#include "support/heap.hpp"
#include "task/message.hpp"

#include "base/limits.hpp"

#include <gtest/gtest.h>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

namespace p2p {
namespace {

namespace json = boost::json;
using namespace std::string_literals;

/// Why a text is refused; empty for one that is read.
std::string refusal(std::string_view text, JsonRules rules = JsonRules::protocol) {
  const Result<json::object> object = parse_json(as_bytes(text), {}, rules);
  if (object) return {};
  EXPECT_EQ(object.error().code, Errc::malformed) << text;
  return object.error().reason;
}

std::string in_string(std::string_view content) { return "{\"a\":\"" + std::string(content) + "\"}"; }
std::string in_key(std::string_view content) { return "{\"" + std::string(content) + "\":0}"; }

std::string repeated(std::string_view text, std::size_t times) {
  std::string all;
  for (std::size_t i = 0; i < times; ++i) all += text;
  return all;
}

constexpr std::string_view invalid = "not valid JSON";
constexpr std::string_view twice = "a key stands twice in one object";
constexpr std::string_view too_large = "a number is too large";
constexpr std::string_view too_deep = "JSON nested too deep";

TEST(Json, IsReadWithEveryKindOfValue) {
  const json::object object =
      parse_json(as_bytes(R"({"s":"x","i":-1,"d":0.5,"t":true,"f":false,"n":null,"a":[1,[]],"o":{"k":{}},"":""})")).value();
  EXPECT_EQ(json::serialize(object), R"({"s":"x","i":-1,"d":5E-1,"t":true,"f":false,"n":null,"a":[1,[]],"o":{"k":{}},"":""})");
}

TEST(Json, MayHaveBlanksAroundItsParts) {
  EXPECT_EQ(refusal("{}"), "");
  EXPECT_EQ(refusal("\r\n\t {\r\n\t \"a\"\r\n\t :\r\n\t [\r\n\t 1\r\n\t ,\r\n\t 2\r\n\t ]\r\n\t }\r\n\t "), "");
}

TEST(Json, HasNoOtherBlanks) {
  for (const char* const blank : {"\f", "\v", "\xc2\xa0", "\xe2\x80\xa8", "\xef\xbb\xbf"}) {
    EXPECT_EQ(refusal(std::string(blank) + "{}"), invalid) << blank;
    EXPECT_NE(refusal("{}" + std::string(blank)), "") << blank;
  }
}

TEST(Json, IsOneObject) {
  for (const char* const other : {"[]", "[{}]", "\"{}\"", "1", "-0.5", "true", "null"}) {
    EXPECT_EQ(refusal(other), "JSON, but not an object") << other;
  }
}

TEST(Json, EndsWithItsObject) {
  for (const std::string& more : {"{}"s, "}"s, ","s, "x"s, "\n[]"s, "\0"s, " \0"s}) EXPECT_NE(refusal("{}" + more), "") << more;
}

TEST(Json, IsRefusedAtEveryTruncation) {
  constexpr std::string_view whole = R"({"a":[1,2.5e3,"x\u00e9\\"],"b":{"c":null,"d":true},"é":false})";
  EXPECT_EQ(refusal(whole), "");
  for (std::size_t size = 0; size < whole.size(); ++size) EXPECT_EQ(refusal(whole.substr(0, size)), invalid) << whole.substr(0, size);
}

TEST(Json, NestsToItsLimitAndNoDeeper) {
  const auto arrays = [](std::size_t depth) { return "{\"a\":" + repeated("[", depth - 1) + repeated("]", depth - 1) + "}"; };
  const auto objects = [](std::size_t depth) { return repeated("{\"a\":", depth - 1) + "{}" + repeated("}", depth - 1); };
  EXPECT_EQ(limits::json_depth, 32U);
  EXPECT_EQ(refusal(arrays(32)), "");
  EXPECT_EQ(refusal(objects(32)), "");
  EXPECT_EQ(refusal(arrays(33)), too_deep);
  EXPECT_EQ(refusal(objects(33)), too_deep);
  EXPECT_EQ(refusal(repeated("{\"a\":[", 16) + repeated("]}", 16)), "");
  EXPECT_EQ(refusal(repeated("{\"a\":[", 16) + "{}" + repeated("]}", 16)), too_deep);
  EXPECT_EQ(refusal(arrays(1'000'000)), too_deep);
}

TEST(Json, HasAsManyValuesAsItsLimitAndNoMore) {
  const auto values = [](const std::string& each, std::size_t count) {
    std::string text = "{\"a\":[" + each;
    for (std::size_t i = 1; i < count; ++i) text += "," + each;
    return text + "]}";
  };
  for (const std::string each : {"0", "-1", "0.5", "\"\"", "true", "null", "[]", "{}"}) {
    EXPECT_EQ(refusal(values(each, limits::json_values - 2)), "") << each;  // beside the object and the array
    EXPECT_NE(refusal(values(each, limits::json_values - 1)).find("too many values"), std::string::npos) << each;
  }
}

// Looking for equal ones among them takes that many comparisons at worst, whatever their names are.
TEST(Json, HasObjectsOfNoMoreMembersThanCanBeCompared) {
  const auto object = [](std::size_t members, std::size_t longer = 0) {
    std::string text = "{";
    for (std::size_t i = 0; i < members; ++i) text += (i > 0 ? ",\"" : "\"") + std::string(longer, 'n') + std::to_string(1000 + i) + "\":0";
    return text + "}";
  };
  EXPECT_EQ(refusal(object(4096)), "");
  EXPECT_EQ(refusal(object(4097)), "its objects have too many members");
  EXPECT_EQ(refusal(object(4096), JsonRules::lenient), "");
  EXPECT_EQ(refusal(object(4097), JsonRules::lenient), "its objects have too many members");
  EXPECT_EQ(refusal(object(1024, 1020)), "");  // a KiB each
  EXPECT_EQ(refusal(object(1025, 1020)), "its objects have too many members");
  const auto objects = [&](std::size_t count) {
    std::string text = "{\"a\":[" + object(512);
    for (std::size_t i = 1; i < count; ++i) text += "," + object(512);
    return text + "]}";
  };
  static_assert(limits::json_comparisons == 64 * 512 * 512);
  EXPECT_EQ(refusal(objects(63)), "");
  EXPECT_EQ(refusal(objects(64)), "its objects have too many members");  // beside the one around them
}

TEST(Json, TakesTheMemoryThatIsCountedForIt) {
  const std::string text = "{\"prompt\":\"" + std::string(100'000, 'x') + "\",\"list\":[" + repeated("{\"a\":[0,0]},", 1000) + "0]}";
  const std::size_t before = test::heap_in_use();
  const boost::json::object value = parse_json(as_bytes(text)).value();
  const std::size_t taken = test::heap_in_use() - before;
  if (before == 0) GTEST_SKIP() << "nobody counts the heap here";
  EXPECT_GE(2 * memory_of(value), taken);  // blocks have a rim of their own
  EXPECT_LE(memory_of(value), 2 * taken);
}

TEST(Json, CountsWhatIsOpenForItsDepthAndNotWhatIsClosed) { EXPECT_EQ(refusal("{\"a\":[" + repeated("[[]],", 1000) + "[]]}"), ""); }

TEST(Json, TakesNoKeyTwice) {
  for (const char* const text : {R"({"a":1,"a":1})", R"({"a":1,"b":2,"a":null})", R"({"":1,"":2})", R"({"a":{"b":1},"a":2})",
                                 R"({"x":{"a":1,"a":2}})", R"({"x":[{},{"a":1,"a":2}]})", R"({"x":{"y":{}},"z":[0],"x":0})"}) {
    EXPECT_EQ(refusal(text), twice) << text;
  }
}

TEST(Json, ComparesKeysAsTheyReadAndNotAsTheyAreWritten) {
  for (const char* const text : {R"({"a":1,"\u0061":2})", R"({"\u0061":1,"a":2})", R"({"xay":1,"x\u0061y":2})", R"({"é":1,"\u00e9":2})",
                                 R"({"\u00e9":1,"\u00E9":2})", R"({"😀":1,"\ud83d\ude00":2})", R"({"/":1,"\/":2})", R"({"\n":1,"\u000a":2})",
                                 R"({"\u0000":1,"\u0000":2})"}) {
    EXPECT_EQ(refusal(text), twice) << text;
  }
}

TEST(Json, TakesKeysThatOnlyLookAlike) {
  for (const char* const text : {R"({"a":1,"A":2})", R"({"a":1,"a ":2})", R"({"a":1,"a\u0000":2})", R"({"\u00e9":1,"e\u0301":2})",
                                 R"({"a":{"a":{"a":1}}})", R"({"x":[{"a":1},{"a":2}],"a":3})", R"({"a":"a","b":"a"})"}) {
    EXPECT_EQ(refusal(text), "") << text;
  }
}

TEST(Json, MayHaveKeysTwiceAndBrokenTextWhereTheRulesAreLenient) {
  const json::object object = parse_json(as_bytes("{\"a\":1,\"a\":\"\xff\"}"), {}, JsonRules::lenient).value();
  EXPECT_EQ(object.size(), 1U);
  EXPECT_EQ(object.at("a").as_string(), "\xff");
}

TEST(Json, IsUtf8) {
  for (const char* const good : {"\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf",
                                 "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_EQ(parse_json(as_bytes(in_string(good))).value().at("a").as_string(), good);
    EXPECT_TRUE(parse_json(as_bytes(in_key(good))).value().contains(good));
  }
}

TEST(Json, IsRefusedWhereItIsNotUtf8) {
  for (const char* const bad :
       {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc3", "\xc3x", "\xe0\x9f\xbf", "\xe2\x82", "\xe2\x82x", "\xed\xa0\x80", "\xed\xbf\xbf",
        "\xed\xa0\xbd\xed\xb8\x80", "\xf0\x8f\xbf\xbf", "\xf0\x9f\x98", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xfe", "\xff"}) {
    EXPECT_EQ(refusal(in_string(bad)), invalid) << to_hex(as_bytes(bad));
    EXPECT_EQ(refusal(in_key(bad)), invalid) << to_hex(as_bytes(bad));
  }
}

TEST(Json, TakesSurrogatesInPairsAlone) {
  EXPECT_EQ(parse_json(as_bytes(in_string(R"(\uD83D\uDE00)"))).value().at("a").as_string(), "😀");
  for (const char* const lone :
       {R"(\ud83d)", R"(\ude00)", R"(\ud83dx)", R"(\ud83d\n)", R"(\ud83d\u0061)", R"(\ud83d\ud83d)", R"(\ude00\ud83d)"}) {
    EXPECT_EQ(refusal(in_string(lone)), invalid) << lone;
    EXPECT_EQ(refusal(in_key(lone)), invalid) << lone;
  }
}

TEST(Json, EscapesAreThoseOfTheStandard) {
  EXPECT_EQ(parse_json(as_bytes(in_string(R"(\"\\\/\b\f\n\r\t\u0041\u0000)"))).value().at("a").as_string(), "\"\\/\b\f\n\r\tA\0"s);
  for (const char* const other : {R"(\x41)", R"(\')", R"(\a)", R"(\0)", R"(\U0041)", R"(\u004)", R"(\u00g1)"}) {
    EXPECT_EQ(refusal(in_string(other)), invalid) << other;
  }
}

TEST(Json, ControlCharactersHaveToBeEscaped) {
  for (char control = 0; control < 0x20; ++control) {
    EXPECT_EQ(refusal(in_string(std::string(1, control))), invalid) << static_cast<int>(control);
    EXPECT_EQ(refusal(in_key(std::string(1, control))), invalid) << static_cast<int>(control);
  }
}

TEST(Json, TellsIntegersFromOtherNumbers) {
  const auto number = [](const std::string& text) { return parse_json(as_bytes("{\"a\":" + text + "}")).value().at("a"); };
  EXPECT_EQ(number("0"), json::value(0));
  EXPECT_EQ(number("-0"), json::value(0));
  EXPECT_EQ(number("9223372036854775807"), json::value(INT64_MAX));
  EXPECT_EQ(number("-9223372036854775808"), json::value(INT64_MIN));
  EXPECT_EQ(number("9223372036854775808"), json::value(std::uint64_t{1} << 63));
  EXPECT_EQ(number("18446744073709551615"), json::value(UINT64_MAX));
  for (const char* const other : {"3e4", "3E+4", "30000.0", "0.0", "-0.0", "1e-2", "18446744073709551616", "-9223372036854775809"}) {
    EXPECT_TRUE(number(other).is_double()) << other;
  }
  EXPECT_EQ(number("3e4").as_double(), 30000);
  EXPECT_EQ(number("0.7").as_double(), 0.7);
}

TEST(Json, HasNoNumberThatIsTooLargeForADouble) {
  EXPECT_EQ(refusal("{\"a\":1.7976931348623157e308}"), "");
  for (const std::string& number : {"1e309"s, "1e999"s, "-1e999"s, "1" + repeated("0", 400)}) {
    EXPECT_EQ(refusal("{\"a\":" + number + "}"), too_large) << number;
    EXPECT_EQ(refusal("{\"a\":[{\"b\":" + number + "}]}"), too_large) << number;
  }
}

TEST(Json, IsNoDialect) {
  for (const char* const value :
       {"NaN",   "nan",   "Infinity", "-Infinity", "inf",   "01",    "-01",        "00",    "+1",      ".5",      "1.",
        "1.e2",  "-",     "1e",       "1e+",       "0x10",  "1_000", "1n",         "True",  "NULL",    "nul",     "undefined",
        "'x'",   "x",     "[1,]",     "[,1]",      "[1 2]", "{,}",   "{\"b\":1,}", "{b:1}", "{'b':1}", "{\"b\"}", "{1:1}",
        "/**/1", "1/**/", "1//\n",    "#\n1",      "",      "1,",    "[",          "]"}) {
    EXPECT_EQ(refusal("{\"a\":" + std::string(value) + "}"), invalid) << value;
  }
  EXPECT_EQ(refusal("// a task\n{}"), invalid);
  EXPECT_NE(refusal("{} // a task"), "");
  EXPECT_EQ(refusal("{}{}").substr(0, invalid.size()), invalid);
}

}  // namespace
}  // namespace p2p
