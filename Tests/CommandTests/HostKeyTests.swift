import Foundation
import Testing

extension LabTests {
    /// `plumb host-key`, before anybody trusts anybody.
    @Suite struct HostKeyTests {
        @Test func showsWhatToCompareAndWhatToPaste() async throws {
            let lab = try Lab()
            try await lab.withHost("new") {
                try await lab.withSpecs(["specs.yaml": Lab.hosts(["new"]), "known": "", "pinned.yaml": ""]) { source in
                    func ask(_ name: String = "new", _ file: String = "specs.yaml", known: String) async throws -> Outcome {
                        try await lab.plumb(["host-key", name, "\(source)/\(file)"], known: known)
                    }
                    let unknown = try await ask(known: "\(source)/known")
                    #expect(unknown.status == 0 && unknown.output.contains("It is not known yet."), "\(unknown.output) \(unknown.errorOutput)")
                    let own = try await lab.lab("exec", "new", "ssh-keygen", "-lf", "/etc/ssh/ssh_host_ed25519_key.pub").output
                    let fingerprint = try #require(own.split(separator: " ").first { $0.hasPrefix("SHA256:") })
                    #expect(unknown.output.contains("\n  \(fingerprint) (ssh-ed25519)\n"))
                    #expect(unknown.output.contains("(ecdsa-sha2-nistp256)"))
                    #expect(unknown.output.contains("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"))
                    // Nobody logged in for that.
                    let log = try String(contentsOfFile: "\(lab.folder)/hosts/new/log", encoding: .utf8)
                    #expect(!log.contains("Accepted"), "\(log)")

                    // Pasted, it is enough to be let in.
                    let line = try #require(unknown.output.split(separator: "\n").last).trimmingCharacters(in: .whitespaces)
                    let pinned = Lab.hosts(["new"]).replacing("new: {}", with: "new: {\(line)}")
                    try Data((pinned + Lab.promiscuous).utf8).write(to: URL(fileURLWithPath: "\(source)/pinned.yaml"))
                    let plan = try await lab.plumb(["plan", "\(source)/pinned.yaml"], known: "\(source)/known")
                    #expect(plan.status == 0, "\(plan.output) \(plan.errorOutput)")
                    let trusted = try await ask("new", "pinned.yaml", known: "\(source)/known")
                    #expect(trusted.output.contains("It is trusted: its hostKeys in the specs."), "\(trusted.output)")

                    let missing = try await ask("nev", known: "\(source)/known")
                    #expect(missing.status == 1 && missing.errorOutput.contains("Did you mean 'new'?"), "\(missing.errorOutput)")
                    try await lab.lab("stop", "new")
                    let stopped = try await ask(known: "\(source)/known")
                    #expect(
                        stopped.status == 1 && stopped.output.isEmpty && stopped.errorOutput.contains("can't be reached"),
                        "\(stopped.errorOutput)"
                    )
                    try await lab.lab("start", "new")
                }
            }
        }

        @Test func saysThatAKeyIsAnotherThanBefore() async throws {
            let lab = try Lab()
            // Of pi-2, under the name of pi-1.
            let key = try await lab.lab("exec", "pi-2", "cat", "/etc/ssh/ssh_host_ed25519_key.pub").output.split(separator: " ").prefix(2)
                .joined(separator: " ")
            let pinned = Lab.hosts(["pi-1"]).replacing("pi-1: {}", with: "pi-1: {hostKeys: [\"\(key)\"]}")
            try await lab.withSpecs(["specs.yaml": pinned]) { source in
                let asked = try await lab.plumb(["host-key", "pi-1", source])
                #expect(asked.status == 0)
                #expect(
                    asked.output.contains("It is not trusted: pi-1") && asked.output.contains("but its hostKeys in the specs say"),
                    "\(asked.output)"
                )
            }
        }
    }
}
