package kubernetes

var chains = []string{root + "/envoy/config/istio-sidecar.yaml", root + "/envoy/config/istio-gateway.yaml", root + "/envoy/config/envoy-gateway.yaml"}
