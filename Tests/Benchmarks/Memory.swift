import ClusterKinds
import Foundation
import HostKinds
import Planning
import Reconciling
import ResourceModel
import SpecLoading
import Values
import YAML

/// The engine alone, from memory: specs that are read, and resources that are as declared.
func engineBenchmarks() {
    line(["from memory", "10,000", "100,000", "ratio (10 is linear)"])
    var times: [Double] = []
    for hosts in [1_000, 10_000] {
        let (desired, observed) = fleet(hosts: hosts)
        let pass = Pass(desired: desired, kinds: HostKinds.all, source: "memory", concurrency: 1)
        times.append(
            Samples(
                (0..<(hosts > 1_000 ? 3 : 7)).map { _ in
                    timed { precondition(pass.plan(desired, observed: observed).unchanged.count == desired.resources.count) }
                }
            ).median
        )
    }
    line(["resources planned, no difference", Samples.shown(times[0]), Samples.shown(times[1]), String(format: "%.1f", times[1] / times[0])])

    times = [10_000, 100_000].map { count in
        let files = configMaps(count)
        return Samples(
            (0..<(count > 10_000 ? 3 : 7)).map { _ in
                timed {
                    var errors: [YAMLError] = []
                    for file in files {
                        for document in parseYAML(file, file: "f").documents { _ = document.value(errors: &errors) }
                    }
                    precondition(errors.isEmpty)
                }
            }
        ).median
    }
    line(["YAML documents read", Samples.shown(times[0]), Samples.shown(times[1]), String(format: "%.1f", times[1] / times[0])])

    times = [10_000, 100_000].map { count in
        var files = configMaps(count).enumerated().map { SpecFile(path: "\($0).yaml", relativePath: "\($0).yaml", bytes: $1) }
        let cluster = "apiVersion: plumb/v1\nkind: Cluster\nmetadata: {name: home}\nspec: {context: home}\n"
        files.append(SpecFile(path: "cluster.yaml", relativePath: "cluster.yaml", bytes: Array(cluster.utf8)))
        return Samples(
            (0..<3).map { _ in
                timed {
                    let desired = try? loadSpecs(files, kinds: HostKinds.all + ClusterKinds.all, options: LoadOptions(contentHash: ""))
                    precondition(desired?.resources.count == count)
                }
            }
        ).median
    }
    line(["specs loaded", Samples.shown(times[0]), Samples.shown(times[1]), String(format: "%.1f", times[1] / times[0])])
}

/// Ten resources a host: an interface, an operating system, eight chains.
private func fleet(hosts: Int) -> (DesiredState, ObservedState) {
    var names = ""
    for index in 0..<hosts { names += "    host-\(index): {}\n" }
    let specs = """
        apiVersion: plumb/v1
        kind: HostList
        metadata: {name: fleet}
        spec:
          hosts:
        \(names)---
        apiVersion: plumb/v1
        kind: NetworkInterface
        metadata: {name: a}
        spec: {hosts: all, interfaces: [wlan0], flags: {promiscuous: true}}
        ---
        apiVersion: plumb/v1
        kind: OperatingSystem
        metadata: {name: a}
        spec: {hosts: all, distribution: ubuntu, version: {atLeast: "24.04"}, addressBits: {atLeast: 48}}
        ---
        apiVersion: plumb/v1
        kind: IptablesChain
        metadata: {name: a}
        spec: {hosts: all, table: nat, families: [ipv4], chains: [OLD_1, OLD_2, OLD_3, OLD_4, OLD_5, OLD_6, OLD_7, OLD_8]}
        """
    guard
        let desired = try? loadSpecs(
            [SpecFile(path: "fleet.yaml", relativePath: "fleet.yaml", bytes: Array(specs.utf8))],
            kinds: HostKinds.all,
            options: LoadOptions(contentHash: "")
        )
    else { fatalError("the benchmark's own specs are wrong") }
    let links = #"""
        [{"ifname":"lo","flags":["LOOPBACK","UP"],"mtu":65536,"promiscuity":0},
        {"ifname":"wlan0","flags":["BROADCAST","MULTICAST","PROMISC","UP"],"mtu":1500,"promiscuity":1}]
        """#
    let save = """
        # plumb: tool /usr/sbin/iptables-nft-save
        *nat
        :PREROUTING ACCEPT [0:0]
        :INPUT ACCEPT [0:0]
        :OUTPUT ACCEPT [0:0]
        :POSTROUTING ACCEPT [0:0]
        :KUBE - [0:0]
        -A KUBE -j RETURN
        COMMIT

        """
    let texts = [
        "machine": "0123456789abcdef0123456789abcdef\n", "user": "root\n", "ssh-connection": "192.0.2.1 1 192.0.2.2 22\n", "init": "running\n",
        "links": links, "interface-units": "", "os-release": "ID=ubuntu\nVERSION_ID=\"24.04\"\n", "kernel": "Linux 6.8.0 x86_64\n",
        "page-size": "4096\n", "address-bits": "48\n",
    ]
    var sections: [String: SectionOutput] = [:]
    for section in HostKinds.probe {
        sections[section.name] = SectionOutput(status: 0, output: texts[section.name] ?? save)
    }
    let facts = TargetFacts(identity: "x", facts: .host(sections))
    return (desired, ObservedState(targets: Dictionary(uniqueKeysWithValues: desired.targets.map { ($0.name, .observed(facts)) })))
}

/// Documents of nine lines each, a thousand a file.
private func configMaps(_ count: Int) -> [[UInt8]] {
    stride(from: 0, to: count, by: 1000).map { start in
        var text = ""
        for index in start..<min(count, start + 1000) {
            text += """
                ---
                apiVersion: v1
                kind: ConfigMap
                metadata:
                  name: config-\(index)
                  labels: {app: web, tier: front}
                data:
                  port: "8080"
                  hosts: a.example,b.example

                """
        }
        return Array(text.utf8)
    }
}
