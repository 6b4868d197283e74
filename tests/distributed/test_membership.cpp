#include <gtest/gtest.h>

#include <map>
#include <string>

#include "sae/base/error.h"
#include "sae/distributed/membership.h"

namespace sae {
namespace {

using Variables = std::map<std::string, std::string>;

Membership member_of(const Variables& variables, bool asked = false) {
  return membership_in(asked, [&](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

std::string complaint(const Variables& variables, bool asked = false) {
  try {
    member_of(variables, asked);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "none";
}

TEST(Membership, IsOneProcessWhereNothingIsSaid) {
  const Membership alone = member_of({});
  EXPECT_EQ(alone.size, 1);
  EXPECT_EQ(alone.rank, 0);
  EXPECT_EQ(member_of({{"SLURM_PROCID", "1"}, {"SLURM_NTASKS", "4"}}).size, 1)
      << "a batch script has these too";
  EXPECT_NE(complaint({}, true).find("--distributed: nothing in the environment says"),
            std::string::npos);
}

TEST(Membership, IsWhatTorchrunSays) {
  const Membership member = member_of({{"RANK", "5"},
                                       {"WORLD_SIZE", "8"},
                                       {"LOCAL_RANK", "1"},
                                       {"LOCAL_WORLD_SIZE", "4"},
                                       {"MASTER_ADDR", "gpu01"},
                                       {"MASTER_PORT", "1234"},
                                       {"TORCHELASTIC_USE_AGENT_STORE", "True"},
                                       {"TORCHELASTIC_RESTART_COUNT", "2"}});
  EXPECT_EQ(member.rank, 5);
  EXPECT_EQ(member.size, 8);
  EXPECT_EQ(member.local_rank, 1);
  EXPECT_EQ(member.local_size, 4);
  EXPECT_EQ(member.address, "gpu01");
  EXPECT_EQ(member.port, 1234);
  EXPECT_TRUE(member.agent_serves);
  EXPECT_EQ(member.generation, "2");
}

TEST(Membership, IsWhatSrunAndMpirunSayIfAsked) {
  const Membership slurm = member_of({{"SLURM_PROCID", "9"},
                                      {"SLURM_NTASKS", "16"},
                                      {"SLURM_LOCALID", "1"},
                                      {"SLURM_NTASKS_PER_NODE", "8"},
                                      {"SLURM_JOB_NODELIST", "gpu[03-04]"}},
                                     true);
  EXPECT_EQ(slurm.rank, 9);
  EXPECT_EQ(slurm.size, 16);
  EXPECT_EQ(slurm.local_size, 8);
  EXPECT_EQ(slurm.address, "gpu03");
  const Membership mpi = member_of({{"OMPI_COMM_WORLD_RANK", "1"},
                                    {"OMPI_COMM_WORLD_SIZE", "2"},
                                    {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                                    {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}},
                                   true);
  EXPECT_EQ(mpi.rank, 1);
  EXPECT_EQ(mpi.address, "127.0.0.1") << "all on this machine";
  const Membership pmi =
      member_of({{"PMI_RANK", "3"}, {"PMI_SIZE", "4"}, {"MASTER_ADDR", "a"}}, true);
  EXPECT_EQ(pmi.rank, 3);
  EXPECT_EQ(pmi.size, 4);
  EXPECT_EQ(member_of({{"SLURM_PROCID", "0"},
                       {"SLURM_NTASKS", "3"},
                       {"SLURM_NTASKS_PER_NODE", "2(x1),1(x1)"},
                       {"SLURM_JOB_NODELIST", "n1,n2"}},
                      true)
                .address,
            "n1");
}

TEST(Membership, SaysWhichVariableIsWrong) {
  const Variables good{{"RANK", "1"}, {"WORLD_SIZE", "4"}};
  const auto with = [&](const std::string& name, const std::string& value) {
    Variables changed = good;
    changed[name] = value;
    if (value.empty()) changed.erase(name);
    return complaint(changed);
  };
  EXPECT_EQ(complaint(good), "none");
  EXPECT_EQ(with("RANK", "4"), "RANK: got '4', expected a number from 0 to 3");
  EXPECT_EQ(with("RANK", "-1"), "RANK: got '-1', expected a number from 0 to 3");
  EXPECT_EQ(with("RANK", "1x"), "RANK: got '1x', expected a number from 0 to 3");
  EXPECT_EQ(with("RANK", ""), "RANK: not set, expected a number from 0 to 3");
  EXPECT_EQ(with("WORLD_SIZE", ""), "WORLD_SIZE: not set, expected a number from 1 to 1048576");
  EXPECT_EQ(with("MASTER_PORT", "65536"),
            "MASTER_PORT: got '65536', expected a number from 1 to 65535");
  EXPECT_EQ(complaint({{"PMI_RANK", "3"}, {"PMI_SIZE", "4"}, {"MPI_LOCALNRANKS", "2"}}, true),
            "MASTER_ADDR: not set, expected the host of rank 0: 4 ranks are on several machines");
}

TEST(Membership, FindsTheFirstHostOfSlurmsLists) {
  for (const auto& [list, host] : std::map<std::string, std::string>{{"n1", "n1"},
                                                                     {"a,b", "a"},
                                                                     {"gpu[01-04,07],x", "gpu01"},
                                                                     {"gpu[7]", "gpu7"},
                                                                     {"r[2-3]n", "r2n"},
                                                                     {"r[1-2]n[1-2]", ""},
                                                                     {"r[1", ""},
                                                                     {"", ""}}) {
    EXPECT_EQ(first_host(list), host) << list;
  }
}

}  // namespace
}  // namespace sae
