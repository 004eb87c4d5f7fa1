import Foundation
import HostKinds
import Hosts
import ResourceModel
import Synchronization
import Testing

/// Against a real sshd.
@Suite(.enabled(if: TestServer.isPossible, "needs root and sshd"), .serialized, .timeLimit(.minutes(2)))
struct ServerTests {
    static let sections = HostKinds.probe.map { HostSection(name: $0.name, script: $0.script) }
    static let hello = [HostSection(name: "hello", script: "echo hello")]

    @Test func `A probe brings every section with its status, and stdout apart from stderr`() async throws {
        let server = try TestServer()
        let pool = HostPool(options: server.options)
        let answer = try await pool.probe(
            server.login(),
            sections: Self.sections + [
                HostSection(name: "both", script: "echo out; echo err >&2; exit 3"),
                HostSection(name: "broken", script: "if then ('"),
                HostSection(name: "silent", script: "cat"),
                HostSection(name: "no line feed", script: "printf 'a\\nb'"),
                HostSection(name: "half a megabyte", script: "head -c 500000 /dev/zero | tr '\\0' x"),
            ]
        )
        #expect(Set(answer.sections.keys).isSuperset(of: Self.sections.map(\.name)))
        #expect(answer.sections["kernel"]?.output.hasPrefix("Linux ") == true)
        #expect(answer.sections["both"] == CommandResult(status: 3, output: "out\n", errorOutput: "err\n"))
        #expect(answer.sections["broken"]?.status != 0)
        #expect(answer.sections["silent"] == CommandResult(status: 0, output: "", errorOutput: ""))
        #expect(answer.sections["no line feed"]?.output == "a\nb")
        #expect(answer.sections["half a megabyte"]?.output.utf8.count == 500_000)
        #expect(answer.hostKeyFingerprint.hasPrefix("SHA256:"))
        #expect(try Programs.run(["ssh-keygen", "-lf", server.scratch.file("host_ed25519.pub")]).contains(answer.hostKeyFingerprint))
        await pool.close()
    }

    @Test func `A step's arguments and input are data`() async throws {
        let server = try TestServer()
        let pool = HostPool(options: server.options)
        let proof = server.scratch.file("proof")
        let arguments = [
            "$(touch \(proof))", "`touch \(proof)`", "'; touch \(proof); '", "\"", "-n", "", "a  b", "*", "\\n", "é\u{1F600}", "$SUDO", "EOF", "#",
            "~",
        ]
        let result = try await pool.run(server.login(), HostCommand(arguments: ["printf", "<%s>"] + arguments))
        #expect(result == CommandResult(status: 0, output: arguments.map { "<\($0)>" }.joined(), errorOutput: ""))
        #expect(!server.scratch.exists("proof"))

        let input = "$(touch \(proof))\n`x`\\\\ \\n %b 'q' \"\u{0}\t\r\u{85}é\u{1F600}\n\n\nno line feed"
        let back = try await pool.run(server.login(), HostCommand(arguments: ["cat"], input: input))
        #expect(back == CommandResult(status: 0, output: input, errorOutput: ""))

        let failed = try await pool.run(server.login(), HostCommand(arguments: ["sh", "-c", "echo no >&2; exit 7"]))
        #expect(failed == CommandResult(status: 7, output: "", errorOutput: "no\n"))
        let missing = try await pool.run(server.login(), HostCommand(arguments: ["no-such-program"]))
        #expect(missing.status == 127)
        // A builtin of the shell is no program.
        let builtin = try await pool.run(server.login(), HostCommand(arguments: ["eval", "touch \(proof)"]))
        #expect(builtin.status != 0)
        #expect(!server.scratch.exists("proof"))
        await pool.close()
    }

    @Test(arguments: [["a\nb"], ["a\0b"]]) func `An argument that a line can't carry is refused before anything is sent`(
        _ arguments: [String]
    ) async throws {
        let pool = HostPool(options: HostPoolOptions())
        let login = HostLogin(name: "nowhere", address: "192.0.2.1")
        let failure = await #expect(throws: HostFailure.self) { try await pool.run(login, HostCommand(arguments: ["echo"] + arguments)) }
        #expect(failure?.message.contains("is not run") == true)
    }

    @Test func `A megabyte of input arrives whole`() async throws {
        let server = try TestServer()
        let pool = HostPool(options: server.options)
        let line = "0123456789 \\ % $ ' \" é\n"
        let input = String(repeating: line, count: (1 << 20) / line.utf8.count + 1)
        let result = try await pool.run(server.login(), HostCommand(arguments: ["cat"], input: input))
        #expect(result.status == 0)
        #expect(result.output == input)
        // A command that does not read what it is given.
        let ignored = try await pool.run(server.login(), HostCommand(arguments: ["true"], input: input))
        #expect(ignored.status == 0)
        await pool.close()
    }

    @Test func `Twenty hosts at once, and calls on one host wait for each other`() async throws {
        let server = try TestServer()
        let pool = HostPool(options: server.options)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<20 {
                for turn in 0..<2 {
                    group.addTask {
                        let section = HostSection(name: "x", script: "echo \(number) \(turn)")
                        let answer = try await pool.probe(server.login("host-\(number)"), sections: [section])
                        #expect(answer.sections["x"]?.output == "\(number) \(turn)\n")
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(server.log.components(separatedBy: "Accepted publickey").count - 1 == 20)
        await pool.close()
    }

    @Test func `Output without end is cut off, and the next probe has a connection of its own`() async throws {
        let server = try TestServer()
        let pool = HostPool(options: server.options)
        let failure = await #expect(throws: HostFailure.self) {
            try await pool.probe(server.login(), sections: [HostSection(name: "endless", script: "yes")])
        }
        #expect(failure?.cause == .unknown)
        #expect(failure?.message.contains("more than 4 MiB") == true)
        let answer = try await pool.probe(server.login(), sections: Self.hello)
        #expect(answer.sections["hello"]?.output == "hello\n")
        await pool.close()
    }

    @Test func `A section that hangs is named`() async throws {
        let server = try TestServer()
        var options = server.options
        options.probeTimeout = .milliseconds(1500)
        let pool = HostPool(options: options)
        let failure = await #expect(throws: HostFailure.self) {
            try await pool.probe(server.login(), sections: Self.hello + [HostSection(name: "stuck", script: "sleep 60")])
        }
        #expect(failure?.cause == .unreachable)
        #expect(failure?.message.contains("'stuck'") == true)
        #expect(failure?.message.contains("1.5 s") == true)
        await pool.close()
    }

    @Test func `A connection that breaks in the middle of a step leaves it open whether it happened`() async throws {
        let server = try TestServer()
        let pool = HostPool(options: server.options)
        let session =
            try await pool.probe(server.login(), sections: [HostSection(name: "session", script: "echo $PPID")]).sections["session"]?.output ?? ""
        let pid = session.trimmingCharacters(in: .whitespacesAndNewlines)
        let failure = await #expect(throws: HostFailure.self) {
            try await pool.run(server.login(), HostCommand(arguments: ["sh", "-c", "kill -9 \(pid); sleep 5"]))
        }
        #expect(failure?.cause == .unreachable)
        #expect(failure?.message.contains("may or may not have happened") == true)
        // The next step gets a shell of its own.
        let result = try await pool.run(server.login(), HostCommand(arguments: ["echo", "again"]))
        #expect(result.output == "again\n")
        await pool.close()
    }

    @Test func `A shell that died between two probes is replaced`() async throws {
        let server = try TestServer()
        let pool = HostPool(options: server.options)
        let session = try await pool.probe(server.login(), sections: [HostSection(name: "shell", script: "echo $$")]).sections["shell"]?.output ?? ""
        try Programs.run(["kill", "-9", session.trimmingCharacters(in: .whitespacesAndNewlines)])
        let answer = try await pool.probe(server.login(), sections: Self.hello)
        #expect(answer.sections["hello"]?.output == "hello\n")
        await pool.close()
    }

    @Test func `Closing does not wait for a host`() async throws {
        let server = try TestServer()
        let pool = HostPool(options: server.options)
        async let failure = #expect(throws: HostFailure.self) {
            try await pool.probe(server.login(), sections: [HostSection(name: "stuck", script: "echo \(server.scratch.path); sleep 60")])
        }
        for _ in 0..<500 where !server.log.contains("Starting session") { try await Task.sleep(for: .milliseconds(10)) }
        let start = ContinuousClock.now
        await pool.close()
        #expect(ContinuousClock.now - start < .seconds(1))
        #expect(await failure?.cause == .unreachable)
    }

    // MARK: Shells

    @Test(arguments: ["bash", "tcsh", "fish", "zsh", "dash"]) func `Any login shell does that runs a command`(_ shell: String) async throws {
        let path = "/usr/bin/\(shell)"
        guard FileManager.default.isExecutableFile(atPath: path) else { return }
        let scratch = try Scratch()
        let wrapper = try scratch.write("#!/bin/sh\nexec \(path) -c \"$SSH_ORIGINAL_COMMAND\"\n", to: "wrapper", mode: 0o755)
        let server = try TestServer(["ForceCommand \(wrapper)"])
        let pool = HostPool(options: server.options)
        #expect(try await pool.probe(server.login(), sections: Self.hello).sections["hello"]?.output == "hello\n")
        #expect(try await pool.run(server.login(), HostCommand(arguments: ["printf", "%s", "a'b"])).output == "a'b")
        await pool.close()
    }

    @Test func `What startup files print is not part of an answer`() async throws {
        let scratch = try Scratch()
        let noise = "echo Welcome; echo; echo 'plumb-0 begin 0'; echo warning >&2; printf 'no line feed'; printf 'none here' >&2"
        let wrapper = try scratch.write("#!/bin/sh\n\(noise)\nexec sh -c \"$SSH_ORIGINAL_COMMAND\"\n", to: "wrapper", mode: 0o755)
        let server = try TestServer(["ForceCommand \(wrapper)"])
        let pool = HostPool(options: server.options)
        let answer = try await pool.probe(server.login(), sections: Self.hello)
        #expect(answer.sections == ["hello": CommandResult(status: 0, output: "hello\n", errorOutput: "")])
        await pool.close()
    }

    @Test(arguments: [
        ("echo This account is not available.; exit 1", "This account is not available"),
        ("yes garbage", "more than 256 KiB"),
        ("echo waiting; sleep 60", "waiting"),
        ("kill -9 $$", "signal KILL"),
    ])
    func `A login shell that does not become ours is named`(_ command: String, _ words: String) async throws {
        let scratch = try Scratch()
        let wrapper = try scratch.write("#!/bin/sh\n\(command)\n", to: "wrapper", mode: 0o755)
        let server = try TestServer(["ForceCommand \(wrapper)"])
        var options = server.options
        options.probeTimeout = .seconds(1)
        let pool = HostPool(options: options)
        let failure = await #expect(throws: HostFailure.self) { try await pool.probe(server.login(), sections: Self.hello) }
        #expect(failure?.message.contains(words) == true, "\(failure?.message ?? "")")
        let step = await #expect(throws: HostFailure.self) { try await pool.run(server.login(), HostCommand(arguments: ["true"])) }
        #expect(step?.message.contains("may or may not") == false, "nothing was started")
        await pool.close()
    }
}
