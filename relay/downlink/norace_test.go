//go:build !race

package downlink

const raced = false
