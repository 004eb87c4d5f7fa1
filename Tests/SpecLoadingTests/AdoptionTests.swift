import ClusterKinds
import HostKinds
import ResourceModel
import SpecLoading
import Testing
import Values
import YAML

/// Which values in which files stand for what differs.
struct AdoptionTests {
    private static let hosts = """
        apiVersion: plumb/v1
        kind: HostList
        metadata: {name: pis}
        spec:
          hosts: {pi-1: {}, pi-2: {}}
        ---
        apiVersion: plumb/v1
        kind: Cluster
        metadata: {name: home}
        spec: {context: home}

        """

    private static func file(_ text: String, _ path: String = "state/s.yaml") -> SpecFile {
        SpecFile(path: path, relativePath: String(path.dropFirst(6)), bytes: Array(text.utf8))
    }

    private static func load(_ files: [SpecFile]) throws -> DesiredState {
        try loadSpecs(files, kinds: HostKinds.all + ClusterKinds.all, options: LoadOptions(contentHash: ""))
    }

    /// What is declared at an address, with these fields other than declared.
    private static func drift(
        _ address: String,
        _ differences: [(String, observed: Value?, desired: Value?)],
        standing: ResourceDrift.Standing = .differs,
        in files: [SpecFile]
    ) throws -> ResourceDrift {
        let resource = try #require(try load(files).resources.first { $0.address.description == address }, "\(address)")
        return ResourceDrift(
            address: resource.address,
            kind: resource.kind,
            handler: resource.handler,
            standing: standing,
            differences: differences.map { FieldDifference(path: $0.0, observed: $0.observed, desired: $0.desired) },
            origins: resource.origins
        )
    }

    private static func text(_ adoption: Adoption, _ files: [SpecFile]) -> [String] {
        adoption.applied(to: files).map { String(decoding: $0.bytes, as: UTF8.self) }
    }

    @Test func aHostsFieldsAreReplacedInItsSpec() throws {
        let spec = """
            # Wi-Fi of the pis
            apiVersion: plumb/v1
            kind: NetworkInterface
            metadata: {name: wifi}
            spec:
              hosts: {names: [pi-1]}
              interfaces: [wlan0]   # all there is
              mtu: 1500             # the router's
              flags: {promiscuous: true, up: true}

            """
        let files = [Self.file(Self.hosts, "state/hosts.yaml"), Self.file(spec)]
        let drift = try Self.drift(
            "pi-1/NetworkInterface/wlan0",
            [("mtu", 1400, 1500), ("flags.promiscuous", false, true)],
            in: files
        )
        let adoption = adopt([drift], in: files)
        #expect(adoption.obstacles.isEmpty && adoption.fields.map(\.path) == ["flags.promiscuous", "mtu"])
        #expect(adoption.files.map(\.path) == ["state/s.yaml"])
        let expected = spec.replacing("mtu: 1500 ", with: "mtu: 1400 ").replacing("promiscuous: true", with: "promiscuous: false")
        #expect(Self.text(adoption, files) == [Self.hosts, expected])
        #expect(try Self.load(adoption.applied(to: files)).resources.first?.fields["mtu"] == 1400)
    }

    @Test func anObjectsFieldsAreReplacedInItsManifest() throws {
        let manifest = """
            ---
            apiVersion: v1
            kind: Service
            metadata:
              name: web
              annotations: {example.org/a.b: "x"}
            spec:
              type: LoadBalancer
              ports:
              - {name: http, port: 80}
              - name: https   # second
                port: 443
            ---
            apiVersion: v1
            kind: List
            items:
            - apiVersion: v1
              kind: ConfigMap
              metadata: {name: in-a-list}
              data:
                key.conf: |
                  one = 1

            """
        let files = [Self.file(Self.hosts + manifest)]
        let service = try Self.drift(
            "home/v1/Service/default/web",
            [
                ("spec.type", "ClusterIP", "LoadBalancer"), ("metadata.annotations[\"example.org/a.b\"]", "y", "x"),
                // The server has one more before it: the index is the live list's.
                ("spec.ports[2].port", 8443, 443),
            ],
            in: files
        )
        let map = try Self.drift("home/v1/ConfigMap/default/in-a-list", [("data[\"key.conf\"]", "two = 2\n", "one = 1\n")], in: files)
        let adoption = adopt([service, map], in: files)
        #expect(adoption.obstacles.isEmpty && adoption.fields.count == 4)
        var expected = Self.hosts + manifest
        for (old, new) in [("LoadBalancer", "ClusterIP"), (": \"x\"", ": \"y\""), ("port: 443", "port: 8443"), ("one = 1", "two = 2")] {
            expected = expected.replacing(old, with: new)
        }
        #expect(Self.text(adoption, files) == [expected])
        #expect(!adoption.files[0].holdsSecret)
    }

    @Test func oneValueForHostsThatHaveTheSameIsReplacedOnce() throws {
        let spec = "---\napiVersion: plumb/v1\nkind: NetworkInterface\nmetadata: {name: a}\nspec: {hosts: all, interfaces: [wlan0], mtu: 1500}\n"
        let files = [Self.file(Self.hosts + spec)]
        let drifts = try ["pi-1", "pi-2"].map { try Self.drift("\($0)/NetworkInterface/wlan0", [("mtu", 1400, 1500)], in: files) }
        let adoption = adopt(drifts, in: files)
        #expect(adoption.obstacles.isEmpty && adoption.fields.count == 2 && adoption.files.first?.text.replacements.count == 1)
    }

    @Test func oneValueForHostsThatDifferIsNone() throws {
        let spec = "---\napiVersion: plumb/v1\nkind: NetworkInterface\nmetadata: {name: a}\nspec: {hosts: all, interfaces: [wlan0], mtu: 1500}\n"
        let files = [Self.file(Self.hosts + spec)]
        let drifts = try ([("pi-1", 1400), ("pi-2", 1300)] as [(String, Int64)]).map { name, mtu in
            try Self.drift("\(name)/NetworkInterface/wlan0", [("mtu", .int(mtu), 1500)], in: files)
        }
        let adoption = adopt(drifts, in: files)
        #expect(adoption.files.isEmpty && adoption.fields.isEmpty)
        #expect(adoption.obstacles.map(\.address.target) == ["pi-1", "pi-2"])
        let said = "state/s.yaml:15:46 is one value for all of them, and pi-1/NetworkInterface/wlan0 has 1400, pi-2/NetworkInterface/wlan0 has 1300."
        #expect(adoption.obstacles.allSatisfy { $0.message == "\(said) Give them specs of their own." }, "\(adoption.obstacles)")
    }

    @Test func aFieldThatTwoSpecsDeclareIsNamedWithBoth() throws {
        let spec = { (name: String) in
            "---\napiVersion: plumb/v1\nkind: NetworkInterface\nmetadata: {name: \(name)}\nspec: {hosts: all, interfaces: [wlan0], mtu: 1500}\n"
        }
        let files = [Self.file(Self.hosts + spec("a") + spec("b"))]
        let adoption = adopt([try Self.drift("pi-1/NetworkInterface/wlan0", [("mtu", 1400, 1500)], in: files)], in: files)
        #expect(adoption.files.isEmpty)
        #expect(
            adoption.obstacles.first?.message.hasPrefix("It is declared at state/s.yaml:15:46 and state/s.yaml:20:46.") == true,
            "\(adoption.obstacles)"
        )
    }

    @Test func whatAnAliasSharesIsLeftAlone() throws {
        let spec = """
            ---
            apiVersion: v1
            kind: ConfigMap
            metadata: {name: a}
            data: {x: &x one, y: *x, z: three}

            """
        let files = [Self.file(Self.hosts + spec)]
        let drift = try Self.drift("home/v1/ConfigMap/default/a", [("data[\"y\"]", "two", "one"), ("data[\"z\"]", "four", "three")], in: files)
        let adoption = adopt([drift], in: files)
        // With a part that can't be, nothing of the file is touched.
        #expect(adoption.files.isEmpty && adoption.fields.isEmpty)
        #expect(adoption.obstacles.map(\.path) == ["data[\"y\"]"])
        #expect(adoption.obstacles.first?.message.contains("an alias ('*') or a merge ('<<') uses it in another place, too") == true)
    }

    @Test(
        arguments: [
            ("spec.type", nil, "LoadBalancer", "not set there"), ("spec.type", ["a"], "LoadBalancer", "no single value there"),
            ("spec.ports", 1, [["port": 80], ["port": 81]], "state/s.yaml:15:15 it is no single value"),
            ("spec.type", "x", nil, "no longer declare it"),
            ("spec.other", "x", "y", "do not write it out"), ("(released)[", "x", "y", "no single field"),
            ("spec.type", .sensitive(SensitiveValue("hunter2")), "LoadBalancer", "secret"),
            ("spec.ports[7].protocol", "UDP", "TCP", "could be meant"),
        ] as [(String, Value?, Value?, String)]
    )
    func whatIsNoValueInAFileIsExplained(path: String, observed: Value?, desired: Value?, words: String) throws {
        let spec = """
            ---
            apiVersion: v1
            kind: Service
            metadata: {name: web}
            spec: {ports: [{port: 80, protocol: TCP}, {port: 81, protocol: TCP}], type: LoadBalancer}

            """
        let files = [Self.file(Self.hosts + spec)]
        let adoption = adopt([try Self.drift("home/v1/Service/default/web", [(path, observed, desired)], in: files)], in: files)
        #expect(adoption.files.isEmpty)
        #expect(adoption.obstacles.first?.message.contains(words) == true, "\(adoption.obstacles)")
        #expect(!"\(adoption)".contains("hunter2"))
    }

    @Test(
        arguments: [
            (ResourceDrift.Standing.missing, "declared and not there"), (.surplus, "declared absent"),
            (.problem(.unknown, "no answer"), "unknown: no answer"),
            (.problem(.held, "in use"), nil),
        ] as [(ResourceDrift.Standing, String?)]
    )
    func whatIsThereOrNotIsForAPerson(standing: ResourceDrift.Standing, words: String?) throws {
        let spec = "---\napiVersion: plumb/v1\nkind: NetworkInterface\nmetadata: {name: a}\nspec: {hosts: all, interfaces: [wlan0], mtu: 1500}\n"
        let files = [Self.file(Self.hosts + spec)]
        let drift = try Self.drift("pi-1/NetworkInterface/wlan0", [("mtu", 1400, 1500)], standing: standing, in: files)
        let adoption = adopt([drift], in: files)
        #expect(adoption.files.isEmpty == (words != nil))
        #expect(adoption.obstacles.first.map { $0.path == nil && $0.message.contains(words ?? "?") } ?? (words == nil), "\(adoption.obstacles)")
    }

    @Test func aFileWithASecretIsMarked() throws {
        let spec = """
            ---
            apiVersion: v1
            kind: Secret
            metadata: {name: s, labels: {a: b}}
            stringData: {password: hunter2}

            """
        let files = [Self.file(Self.hosts + spec)]
        let adoption = adopt([try Self.drift("home/v1/Secret/default/s", [("metadata.labels[\"a\"]", "c", "b")], in: files)], in: files)
        #expect(adoption.files.map(\.holdsSecret) == [true])
    }
}
