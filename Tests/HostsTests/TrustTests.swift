import Foundation
import Hosts
import Synchronization
import Testing

/// Whom we trust and who trusts us, against a real sshd.
@Suite(.enabled(if: TestServer.isPossible, "needs root and sshd"), .serialized, .timeLimit(.minutes(2)))
struct TrustTests {
    private static func probe(
        _ server: TestServer,
        _ login: HostLogin? = nil,
        _ change: (inout HostPoolOptions) -> Void = { _ in }
    ) async throws -> HostAnswer {
        var options = server.options
        change(&options)
        let pool = HostPool(options: options)
        let result: Result<HostAnswer, any Error>
        do { result = .success(try await pool.probe(login ?? server.login(), sections: ServerTests.hello)) } catch { result = .failure(error) }
        await pool.close()
        return try result.get()
    }

    private static func failure(
        _ server: TestServer,
        _ login: HostLogin? = nil,
        _ change: (inout HostPoolOptions) -> Void = { _ in }
    ) async -> HostFailure? {
        do {
            _ = try await probe(server, login, change)
            Issue.record("it was let in")
            return nil
        } catch {
            return error as? HostFailure
        }
    }

    // MARK: Host keys

    @Test func `An unknown host key is shown with the line to paste, and that line is right`() async throws {
        let server = try TestServer()
        try server.scratch.write("# empty\n", to: "known_hosts")
        let failure = await Self.failure(server)
        #expect(failure?.cause == .denied)
        let line = "[127.0.0.1]:\(server.port) \(try server.hostKey())"
        #expect(failure?.message.contains(line) == true, "\(failure?.message ?? "")")
        #expect(failure?.message.contains("SHA256:") == true)
        #expect(failure?.message.contains("hostKeys: [\"\(try server.hostKey())\"]") == true)
        try server.scratch.write(line + "\n", to: "known_hosts")
        _ = try await Self.probe(server)
        #expect(!server.log.contains("Accepted publickey") || server.log.components(separatedBy: "Accepted publickey").count == 2)
    }

    @Test func `A changed host key is refused, and the place of the old one named`() async throws {
        let server = try TestServer()
        let other = try TestServer()
        try server.scratch.write("# first\n[127.0.0.1]:\(server.port) \(try other.hostKey())\n", to: "known_hosts")
        let failure = await Self.failure(server)
        #expect(failure?.cause == .denied)
        #expect(failure?.message.contains("\(server.scratch.file("known_hosts")):2") == true, "\(failure?.message ?? "")")
        #expect(!server.log.contains("Accepted"))
    }

    @Test func `A hashed known_hosts file is understood`() async throws {
        let server = try TestServer()
        try Programs.run(["ssh-keygen", "-H", "-f", server.scratch.file("known_hosts")])
        #expect(try server.scratch.read("known_hosts").contains("|1|"))
        _ = try await Self.probe(server)
    }

    @Test func `The key exchange asks for the type that is known`() async throws {
        let server = try TestServer(hostKeyTypes: ["ed25519", "ecdsa"])
        try server.trust(["ecdsa"])
        let answer = try await Self.probe(server)
        #expect(try Programs.run(["ssh-keygen", "-lf", server.scratch.file("host_ecdsa.pub")]).contains(answer.hostKeyFingerprint))
    }

    @Test func `Pinned keys replace known_hosts`() async throws {
        let server = try TestServer()
        let other = try TestServer()
        try server.scratch.write("", to: "known_hosts")
        _ = try await Self.probe(server, server.login(hostKeys: [try server.hostKey()]))
        try server.trust()
        let failure = await Self.failure(server, server.login(hostKeys: [try other.hostKey()]))
        #expect(failure?.message.contains("its hostKeys in the specs say") == true, "\(failure?.message ?? "")")
        #expect(await Self.failure(server, server.login(hostKeys: ["nonsense"]))?.cause == .denied)
    }

    @Test func `A revoked key is refused`() async throws {
        let server = try TestServer()
        try server.scratch.write("[127.0.0.1]:\(server.port) \(try server.hostKey())\n@revoked * \(try server.hostKey())\n", to: "known_hosts")
        #expect(await Self.failure(server)?.message.contains("revoked") == true)
    }

    // MARK: Keys

    @Test func `A key that the host does not know is named with its fingerprint`() async throws {
        let server = try TestServer()
        try Programs.makeKey(server.scratch.file("other"))
        let failure = await Self.failure(server) { $0.identityFile = server.scratch.file("other") }
        #expect(failure?.cause == .denied)
        let fingerprint = try Programs.run(["ssh-keygen", "-lf", server.scratch.file("other.pub")]).split(separator: " ")[1]
        #expect(failure?.message.contains(fingerprint) == true, "\(failure?.message ?? "")")
        #expect(failure?.message.contains("authorized_keys") == true)
    }

    @Test(arguments: [("ed25519", []), ("ecdsa", []), ("ecdsa", ["-m", "PEM"]), ("ecdsa", ["-m", "PKCS8"])])
    func `Keys of all usable sorts are accepted`(_ type: String, _ format: [String]) async throws {
        let server = try TestServer()
        try Programs.makeKey(server.scratch.file("key"), type: type, format: format)
        try server.scratch.write(try server.scratch.read("key.pub"), to: "authorized_keys")
        _ = try await Self.probe(server) { $0.identityFile = server.scratch.file("key") }
    }

    @Test(arguments: [[], ["-m", "PEM"]])
    func `A passphrase is asked for once, however many hosts there are`(_ format: [String]) async throws {
        let server = try TestServer()
        let type = format.isEmpty ? "ed25519" : "ecdsa"
        try Programs.makeKey(server.scratch.file("key"), type: type, passphrase: "open sesame", format: ["-a", "1"] + format)
        try server.scratch.write(try server.scratch.read("key.pub"), to: "authorized_keys")
        let asked = Mutex(0)
        let options = {
            var options = server.options
            options.identityFile = server.scratch.file("key")
            options.askPassphrase = { prompt in
                asked.withLock { $0 += 1 }
                #expect(prompt.contains("key"))
                return "open sesame"
            }
            return options
        }()
        let pool = HostPool(options: options)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<4 { group.addTask { _ = try await pool.probe(server.login("host-\(number)"), sections: ServerTests.hello) } }
            try await group.waitForAll()
        }
        #expect(asked.withLock { $0 } == 1)
        await pool.close()
    }

    @Test func `A wrong passphrase, and nobody to ask, are told apart`() async throws {
        let server = try TestServer()
        try Programs.makeKey(server.scratch.file("key"), passphrase: "right", format: ["-a", "1"])
        let wrong = await Self.failure(server) {
            $0.identityFile = server.scratch.file("key")
            $0.askPassphrase = { _ in "wrong" }
        }
        #expect(wrong?.cause == .denied)
        #expect(wrong?.message.contains("not opened by that passphrase") == true, "\(wrong?.message ?? "")")
        let nobody = await Self.failure(server) { $0.identityFile = server.scratch.file("key") }
        #expect(nobody?.message.contains("ssh-add") == true, "\(nobody?.message ?? "")")
    }

    @Test func `An RSA key is refused with what would work`() async throws {
        let server = try TestServer()
        try Programs.makeKey(server.scratch.file("rsa"), type: "rsa", format: ["-b", "2048"])
        let failure = await Self.failure(server) { $0.identityFile = server.scratch.file("rsa") }
        #expect(failure?.message.contains("ed25519") == true, "\(failure?.message ?? "")")
    }

    @Test func `A private key that others can read is not used`() async throws {
        let server = try TestServer()
        try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: server.scratch.file("id"))
        #expect(await Self.failure(server)?.message.contains("chmod 600") == true)
    }

    // MARK: Agent

    @Test func `The agent signs, and saves the passphrase of a key it holds`() async throws {
        let server = try TestServer()
        let agent = try Agent(server.scratch)
        defer { agent.stop() }
        try Programs.makeKey(server.scratch.file("key"), passphrase: "secret", format: ["-a", "1"])
        try agent.add(server.scratch.file("key"), passphrase: "secret")
        try server.scratch.write(try server.scratch.read("key.pub"), to: "authorized_keys")
        let config = try server.scratch.write(
            "IdentityAgent \(agent.socket)\nUserKnownHostsFile \(server.scratch.file("known_hosts"))\n",
            to: "config"
        )
        // Any key that it holds …
        _ = try await Self.probe(server) {
            $0.identityFile = nil
            $0.knownHostsFile = nil
            $0.sshConfigFile = config
        }
        // … or the one that was named.
        _ = try await Self.probe(server) {
            $0.identityFile = server.scratch.file("key")
            $0.sshConfigFile = config
            $0.askPassphrase = { _ in
                Issue.record("asked although the agent has the key")
                return nil
            }
        }
    }

    @Test func `An agent that is not there is named`() async throws {
        let server = try TestServer()
        let config = try server.scratch.write(
            "IdentityAgent \(server.scratch.file("no-agent"))\nIdentityFile \(server.scratch.file("none"))\n",
            to: "config"
        )
        let failure = await Self.failure(server) {
            $0.identityFile = nil
            $0.sshConfigFile = config
        }
        #expect(failure?.message.contains("no-agent") == true, "\(failure?.message ?? "")")
        #expect(failure?.message.contains("none does not exist") == true, "\(failure?.message ?? "")")
    }

    // MARK: ssh configuration

    @Test func `The ssh configuration says where and as whom, and a jump host carries many`() async throws {
        let server = try TestServer()
        let bastion = try TestServer()
        let folder = server.scratch
        let known = try folder.read("known_hosts") + "gate \(try bastion.hostKey())\n"
        try folder.write(known, to: "known_hosts")
        try bastion.scratch.write(try bastion.scratch.read("id.pub") + folder.read("id.pub"), to: "authorized_keys")
        let config = try folder.write(
            """
            Host gate
                HostName 127.0.0.1
                Port \(bastion.port)
                HostKeyAlias gate
            Host inner-*
                HostName 127.0.0.1
                Port \(server.port)
                ProxyJump gate
            Host *
                User \(NSUserName())
                IdentityFile \(folder.file("id"))
                IdentityAgent none
                UserKnownHostsFile \(folder.file("known_hosts"))

            """,
            to: "config"
        )
        var options = HostPoolOptions()
        options.sshConfigFile = config
        options.cacheDirectory = folder.file("cache")
        let pool = HostPool(options: options)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<10 {
                group.addTask {
                    let answer = try await pool.probe(HostLogin(name: "n\(number)", address: "inner-\(number)"), sections: ServerTests.hello)
                    #expect(answer.sections["hello"]?.output == "hello\n")
                    #expect(answer.notes == [])
                }
            }
            try await group.waitForAll()
        }
        #expect(server.log.components(separatedBy: "Accepted publickey").count - 1 == 10)
        #expect(bastion.log.components(separatedBy: "Accepted publickey").count - 1 < 5)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.file("cache")).count == 11)
        await pool.close()
    }

    @Test func `A jump host that can't be used is what is named`() async throws {
        let server = try TestServer()
        let config = try server.scratch.write(
            "Host gate\n HostName 127.0.0.1\n Port \(try TestServer.freePort())\nHost *\n ProxyJump gate\n",
            to: "config"
        )
        let circle = await Self.failure(server) { $0.sshConfigFile = config }
        #expect(circle?.message.contains("circle") == true, "\(circle?.message ?? "")")
        try server.scratch.write("Host gate\n HostName 127.0.0.1\n Port \(try TestServer.freePort())\nHost 127*\n ProxyJump gate\n", to: "config")
        let failure = await Self.failure(server) { $0.sshConfigFile = config }
        #expect(failure?.cause == .unreachable)
        #expect(failure?.message.contains("gate") == true, "\(failure?.message ?? "")")
        #expect(failure?.message.contains("refused") == true, "\(failure?.message ?? "")")
    }

    @Test func `What can't be followed is named`() async throws {
        let server = try TestServer()
        let config = try server.scratch.write("Host *\n ProxyCommand nc %h %p\n", to: "config")
        #expect(await Self.failure(server) { $0.sshConfigFile = config }?.message.contains("ProxyCommand 'nc %h %p'") == true)
    }
}

/// A private ssh-agent.
final class Agent: Sendable {
    let socket: String
    private let daemon: Daemon

    init(_ scratch: Scratch) throws {
        socket = scratch.file("agent")
        daemon = try Daemon(["ssh-agent", "-D", "-a", socket], log: scratch.file("agent.log"))
        for _ in 0..<500 where !FileManager.default.fileExists(atPath: socket) { usleep(10_000) }
    }

    func add(_ key: String, passphrase: String) throws {
        let askpass = "\(key).askpass"
        try "#!/bin/sh\necho '\(passphrase)'\n".write(toFile: askpass, atomically: false, encoding: .utf8)
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: askpass)
        try Programs.run(
            ["ssh-add", "-q", key],
            environment: ["SSH_AUTH_SOCK": socket, "SSH_ASKPASS": askpass, "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"]
        )
    }

    func stop() { daemon.stop() }
}
