//go:build race

package config

// raceDetector says that everything takes many times as long.
const raceDetector = true
