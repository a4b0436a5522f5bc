// The tests against a real Kubernetes API server, in a module of their own.
module github.com/bearergate/bearergate/test/cluster

go 1.26.0

require go.yaml.in/yaml/v3 v3.0.6
