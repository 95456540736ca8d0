// Package sim runs the whole path, from a device's spool over ingest and the log to the
// owners of partitions, in one goroutine, and lets everything go wrong that may: it is
// all tests.
//
// A world (world_test.go) is drawn from a seed. Its events (events_test.go) drive the
// code that runs in production, one step at a time, by way of agent.Machine,
// ingest.Machine and aggregate.Machine: station_test.go is a device with its agent,
// bridge_test.go an ingest process, owner_test.go an owner of a partition, and several
// of them at once believe that it is theirs. link_test.go is what lies between a device
// and ingest. The log (log_test.go), the heads (heads_test.go) and the store
// (blobs_test.go) are kept in memory and fail as the real ones do: an error says nothing
// about whether it happened, a message comes late or twice, a follower answers with what
// was. Nothing depends on a clock, a map's order or a goroutine, so a seed repeats itself
// to the byte.
//
// People edit what devices have said, and undo that (editor_test.go).
//
// In one world of three readings are kept for a day only, and days pass.
//
// check_test.go compares what a query sees with a fold of everything that the log ever
// held, which ledger_test.go keeps together with what was promised to devices.
// sim_test.go runs the seeds, broken_test.go worlds that break a promise and have to be
// found out.
//
//	go test -run TestSeeds -v ./internal/sim   # 500 seeds
//	GRIDLOOM_SIM_SEEDS=20000 go test -run TestSeeds -v -timeout 0 ./internal/sim   # as many, on all cores
//	GRIDLOOM_SIM_SEED=17 go test -run TestSeeds -v ./internal/sim   # one, with every event
package sim
