//go:build !race

package policytest

const slowdown = 1
