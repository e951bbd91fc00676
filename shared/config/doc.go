// Package config reads a configuration struct from environment variables: it checks the values,
// tells every mistake at once, and lists the variables for people.
package config
