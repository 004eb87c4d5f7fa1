import ClusterKinds
import Foundation
import HostKinds
import ResourceModel
import SpecLoading
import Testing

/// Every string field of every plumb/v1 spec, filled with what a shell, ssh or a terminal would act on.
struct InjectionTests {
    /// `«NAME|VALUE»` is a field and a value that it takes.
    private static let template = """
        apiVersion: «apiVersion|plumb/v1»
        kind: «kind|HostList»
        metadata: {name: «list name|pis», labels: {«label key|a»: «label value|b»}}
        spec:
          defaults: {user: «default user|pi», become: «become|sudo», availability: «availability|always», port: «port|22»}
          hosts:
            «host name|pi-1»: {address: «address|192.0.2.1», user: «user|pi», labels: {link: «host label|wifi»}, hostKeys: [«host key|ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA»]}
        ---
        apiVersion: plumb/v1
        kind: Cluster
        metadata: {name: «cluster name|home»}
        spec: {context: «context|home», manifests: [«manifests|home/**»]}
        ---
        apiVersion: plumb/v1
        kind: NetworkInterface
        metadata: {name: «spec name|n», annotations: {plumb/depends-on: «depends-on|OperatingSystem/o», plumb/prune: «prune|keep»}}
        spec: {hosts: {names: [«selected name|pi-1»], matchLabels: {link: «selected label|wifi»}}, interfaces: [«interface|wlan0»], missing: «missing|skip», mtu: «mtu|1500»}
        ---
        apiVersion: plumb/v1
        kind: IptablesChain
        metadata: {name: c}
        spec: {hosts: all, table: «table|nat», chains: [«chain|OLD»], families: [«family|ipv4»], state: «state|absent», references: «references|keep»}
        ---
        apiVersion: plumb/v1
        kind: OperatingSystem
        metadata: {name: o}
        spec: {hosts: all, distribution: «distribution|ubuntu», version: {atLeast: «version|24.04»}, addressBits: «address bits|48», pageSize: «page size|4096»}

        """

    /// Words for people and for the API client, which reach neither a shell nor ssh.
    private static let free: Set<String> = ["label key", "label value", "host label", "context", "manifests"]

    private static let payloads = [
        "$(touch /tmp/plumb-injected)", "`touch /tmp/plumb-injected`", "x; touch /tmp/plumb-injected", "x && y", "x | y", "x\\ny", "-oProxyCommand=x",
        "--help", "a b", "'x", "\\\"x", "*", "../../etc/passwd", "\\u001b[31m", "\\u0000", "%h", "x\\u202ey", "~root", "${IFS}", "a>b",
    ]

    private static let names = template.matches(of: /«([^|]*)\|/).map { String($0.1) }

    @Test func theTemplateItselfIsRight() { #expect(mistakes(in: filled(nil, with: "")) == []) }

    @Test(arguments: names)
    func nothingGetsThrough(field: String) {
        if Self.free.contains(field) { return #expect(field.contains("label") || field == "context" || field == "manifests") }
        for payload in Self.payloads {
            // A glob is what a chain may be; it never leaves Plumb.
            if field == "chain", payload == "*" { continue }
            #expect(!mistakes(in: filled(field, with: payload)).isEmpty, "\(field): \(payload)")
        }
    }

    private func filled(_ field: String?, with payload: String) -> String {
        Self.template.replacing(/«([^|]*)\|([^»]*)»/) { match in
            String(match.1) == field ? "\"\(payload)\"" : "\"\(match.2)\"".contains("/") || match.2.contains(" ") ? "\"\(match.2)\"" : String(match.2)
        }
    }

    private func mistakes(in text: String) -> [String] {
        do {
            _ = try loadSpecs(
                [SpecFile(path: "f.yaml", relativePath: "f.yaml", bytes: Array(text.utf8))],
                kinds: HostKinds.all + ClusterKinds.all,
                options: LoadOptions(contentHash: "")
            )
            return []
        } catch {
            return error.diagnostics.map(\.description)
        }
    }
}
