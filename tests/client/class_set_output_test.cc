#include "client/prefixctl/class_set_output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace prefixd::ctl {
namespace {

using ::testing::ElementsAre;

v1::ClassSet Pets() {
  v1::ClassSet set;
  set.set_name("classSets/pets");
  set.set_num_names(3);
  set.set_num_tokens(7);
  set.set_internal_nodes(4);
  set.set_num_demonstrations(8);
  set.set_num_shots(2);
  set.set_stored_bytes(1536);
  set.set_label_prefix(" ");
  set.mutable_prompt()->set_question("What is\x1b it?");
  set.mutable_create_time()->set_seconds(1'767'225'600);
  set.mutable_create_time()->set_nanos(250'000'000);
  set.mutable_age()->set_seconds(3725);
  set.set_requests(9);
  return set;
}

TEST(ClassSetRow, HasAllColumns) {
  v1::ClassSet set = Pets();
  EXPECT_THAT(ClassSetRow(set),
              ElementsAre("classSets/pets", "3", "7", "4", "8", "2", "1.5 KiB", "9", "1h2m5s"));
  set.set_num_shots(0);
  EXPECT_EQ(ClassSetRow(set)[5], "all");
  set.set_num_demonstrations(0);
  EXPECT_EQ(ClassSetRow(set)[5], "-");
}

TEST(ClassSetTable, HasWhatIsSet) {
  v1::ClassSet set = Pets();
  EXPECT_EQ(ClassSetTable(set, {.utf8 = true}),
            "name            classSets/pets\n"
            "names           3 of 7 tokens together\n"
            "rows            4 beside the context for one ranking\n"
            "question        \"What is\\x1b it?\"\n"
            "label prefix    \" \"\n"
            "demonstrations  8, 2 chosen for each picture\n"
            "size            1.5 KiB\n"
            "requests        9\n"
            "age             1h2m5s\n");
  set.mutable_prompt()->set_system("Be brief.");
  set.mutable_prompt()->set_plain(true);
  set.mutable_prompt()->set_separator("\n");
  set.set_num_shots(0);
  for (const char* name : {"cat", "dog",
                           "\x1b"
                           "cow"})
    set.add_names(name);
  EXPECT_EQ(ClassSetTable(set, {.columns = 26, .utf8 = true}),
            "name            classSets/pets\n"
            "names           3 of 7 tokens together\n"
            "rows            4 beside the context for one ranking\n"
            "question        \"What is\\x1b it?\"\n"
            "system          \"Be brief.\"\n"
            "plain           yes\n"
            "separator       \"\\n\"\n"
            "label prefix    \" \"\n"
            "demonstrations  8\n"
            "size            1.5 KiB\n"
            "requests        9\n"
            "age             1h2m5s\n"
            "                cat, dog,…\n");
}

TEST(ClassSetLine, HasEverything) {
  v1::ClassSet set = Pets();
  set.mutable_prompt()->set_separator("");
  EXPECT_EQ(ClassSetLine(set),
            R"({"name":"classSets/pets","num_names":3,"num_tokens":7,"internal_nodes":4,)"
            R"("num_demonstrations":8,"num_shots":2,"stored_bytes":1536,"label_prefix":" ",)"
            R"("prompt":{"system":"","question":"What is\u001b it?","plain":false,"separator":""},)"
            R"("create_time":"2026-01-01T00:00:00.250Z","age_ms":3725000.0,"requests":9})");
  set.mutable_prompt()->clear_separator();
  set.add_names("cat");
  EXPECT_TRUE(ClassSetLine(set).ends_with(R"("plain":false},"create_time":)"
                                          R"("2026-01-01T00:00:00.250Z","age_ms":3725000.0,)"
                                          R"("requests":9,"names":["cat"]})"));
}

}  // namespace
}  // namespace prefixd::ctl
