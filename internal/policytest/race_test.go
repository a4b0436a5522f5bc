//go:build race

package policytest

// slowdown is by how much the race detector is in the way.
const slowdown = 10
