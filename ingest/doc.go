// Package ingest takes readings from devices and answers them only when they are
// stored: the first stage of the pipeline.
//
// A message's way, file by file: listener.go accepts a connection, conn.go wraps
// it (deadlines, coalesced answers), intake.go takes readings out of what it reads,
// broker.go runs the embedded MQTT broker and hook.go is called by it for everything
// else that a client does; auth.go says who may publish where. bridge.go takes a readings message on the connection's own
// goroutine: scratch.go decodes it (package decode) and puts its rows into the open
// frames of their partitions; what cannot be taken goes the same way as rejects.
// lane.go holds those open frames and rejects, commit.go stores them, one at a time per
// partition, and answers every message whose last part is stored; outbox.go gathers
// the answers of one connection. step.go takes the same steps without goroutines, for
// the simulation. budget.go bounds what is in flight, answer.go is the one table of answers, retained.go keeps
// retained messages over a restart, metrics.go counts.
package ingest
