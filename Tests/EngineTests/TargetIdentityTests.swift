import DriftDetection
import ResourceModel
import Testing
import YAML

struct TargetIdentityTests {
    private static let nowhere = SourcePosition(file: "specs.yaml", line: 1, column: 1)
    private static let one = "0123456789abcdef0123456789abcdef"
    private static let two = "fedcba9876543210fedcba9876543210"

    private static func host(_ name: String = "pi-1") -> Target { .host(Host(name: name, address: name, position: nowhere)) }
    private static let cluster = Target.cluster(Cluster(name: "home", position: nowhere))

    private static func known(_ id: String, _ kind: TargetIdentity.Kind = .host) -> KnownIdentity {
        KnownIdentity(kind: kind, id: id, hostKey: "SHA256:a", firstSeen: "2026-08-01", lastSeen: "2026-08-09")
    }

    @Test func theHostKeyDoesNotDecide() {
        let identity = TargetIdentity(of: Self.host(), as: "SHA256:b \(Self.one)")
        #expect(identity == TargetIdentity(kind: .host, id: Self.one, hostKey: "SHA256:b"))
        #expect(identity.recognised(as: "pi-1", among: ["pi-1": Self.known(Self.one)]) == .same)
        #expect(identity.recognised(as: "pi-2", among: ["pi-1": Self.known(Self.one)]) == .new)
    }

    @Test func anotherMachineIsNamed() throws {
        let identity = TargetIdentity(of: Self.host(), as: "SHA256:a \(Self.two)")
        let known = ["pi-1": Self.known(Self.one), "pi-2": Self.known(Self.two)]
        guard case .other(let message) = identity.recognised(as: "pi-1", among: known) else { throw Unexpected() }
        #expect(message.hasPrefix("not the machine of 2026-08-01 (machine-id 01234567… then, last seen 2026-08-09; machine-id fedcba98… now"))
        #expect(message.contains("it is the one known as pi-2") && message.hasSuffix("plumb accept pi-1"))
        #expect(!message.contains(Self.one) && !message.contains(Self.two), "the whole of a machine-id is nobody else's business")
    }

    @Test(arguments: ["", "uninitialized", "0123", "00000000000000000000000000000000", "0123456789ABCDEF0123456789ABCDEF", "x y"])
    func whatIsNoMachineIDIsNeitherEqualNorDifferent(text: String) throws {
        let identity = TargetIdentity(of: Self.host(), as: "SHA256:a \(text)")
        #expect(identity.id == nil)
        for known in [[:], ["pi-1": Self.known(Self.one)]] {
            guard case .unknowable(let note) = identity.recognised(as: "pi-1", among: known) else { throw Unexpected() }
            #expect(note.contains("/etc/machine-id is empty or can't be read"))
        }
    }

    @Test func aClusterIsItsUID() throws {
        let uid = "7d0b2b0e-0000-4000-8000-000000000001"
        #expect(TargetIdentity(of: Self.cluster, as: uid).recognised(as: "home", among: ["home": Self.known(uid, .cluster)]) == .same)
        guard case .other(let message) = TargetIdentity(of: Self.cluster, as: uid).recognised(as: "home", among: ["home": Self.known(Self.one)])
        else { throw Unexpected() }
        #expect(message.contains("not the cluster of") && message.contains("a host then"))
        // Told by its address, which is less than knowing who it is.
        let vague = TargetIdentity(of: Self.cluster, as: "address 192.0.2.1:6443")
        #expect(vague.recognised(as: "home", among: [:]) == .unknowable(""))
        guard case .unknowable(let note) = vague.recognised(as: "home", among: ["home": Self.known(uid, .cluster)]) else { throw Unexpected() }
        #expect(note.contains("kube-system can't be read"))
    }

    @Test func clonesAreNoted() {
        let targets = ["pi-1", "pi-2", "pi-3", "pi-4"].map { Self.host($0) } + [Self.cluster]
        let notes = cloneNotes(
            [
                "pi-1": "SHA256:a \(Self.one)", "pi-2": "SHA256:b \(Self.one)", "pi-3": "SHA256:c \(Self.two)", "pi-4": "SHA256:c \(Self.two)",
                "home": Self.one,
            ],
            targets: targets
        )
        #expect(notes.count == 2)
        #expect(notes.first?.hasPrefix("pi-1, pi-2 have the same machine-id, as cloned images have") == true)
        #expect(notes.last == "pi-3, pi-4: one machine under several names (the same host key and machine-id)")
        #expect(cloneNotes(["pi-1": "SHA256:a ", "pi-2": "SHA256:b "], targets: targets).isEmpty, "nothing read is nothing equal")
    }

    private struct Unexpected: Error {}
}
