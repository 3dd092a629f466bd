// Package sim runs devices, a service and a clock in one process, one step at a
// time, in an order that a seed decides.
//
// The engines are the shipped ones, and so is the service with its database;
// what they stand on is not: disks that know what is durable from what is not,
// a network that loses and repeats, a clock that nobody waits for. Whenever
// everything has come to rest, one of the steps that are wanted is drawn and
// done, so a seed is a run, and a run that fails can be had again.
//
// It promises nothing about what stands below the engine's Volume: that is for
// device/disk and test/e2e.
//
// Design: doc/design/0022-simulation.md.
package sim
