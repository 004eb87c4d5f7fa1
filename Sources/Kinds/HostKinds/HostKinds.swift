package import ResourceModel

/// The kinds of things on a Linux host. One folder a kind, one line here.
package enum HostKinds {
    package static let all: [RegisteredKind] = [
        NetworkInterface.kind,
        IptablesChain.kind,
        OperatingSystem.kind,
    ]

    /// What every probe asks, whichever kinds are declared: who the machine is and how we came in.
    package static let baseProbe: [ProbeSection] = [
        // The machine's identity for fingerprints; a line of 32 hexadecimal digits.
        ProbeSection(name: "machine", script: "cat /etc/machine-id"),
        // The login name, for the sudoers line a person has to add.
        ProbeSection(name: "user", script: "id -un"),
        // CLIENT-ADDRESS CLIENT-PORT SERVER-ADDRESS SERVER-PORT as sshd sets it; an empty line where we did not come over SSH.
        ProbeSection(name: "ssh-connection", script: #"echo "$SSH_CONNECTION""#),
        // `running` or `absent`. systemctl alone says nothing: it may be installed where another init runs.
        ProbeSection(name: "init", script: "if [ -d /run/systemd/system ]; then echo running; else echo absent; fi"),
    ]

    /// All sections of a host's probe, each name once, in a stable order.
    package static var probe: [ProbeSection] {
        var names: Set<String> = []
        return (baseProbe + all.flatMap(\.probe)).filter { names.insert($0.name).inserted }
    }

    /// What a look at some kinds alone asks, by their names: a chain's event is no reason to read the interfaces.
    package static func probe(of kinds: Set<String>) -> [ProbeSection] {
        let names = Set((baseProbe + all.filter { kinds.contains($0.name) }.flatMap(\.probe)).map(\.name))
        return probe.filter { names.contains($0.name) }
    }

    /// Whether a command was not let through: `sudo` refused, or a right is missing.
    package static func isDenial(_ errorOutput: String) -> Bool { HostFacts.denial(in: errorOutput) != nil }

    /// The first line that says something, at a length that fits in a message.
    package static func firstLine(of output: String) -> String { HostFacts.firstLine(output) }
}
