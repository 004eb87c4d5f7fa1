import Foundation
import HostKinds
import Hosts
import ResourceModel
import Testing

/// Against a real sshd.
@Suite(.enabled(if: TestServer.isPossible, "needs root and sshd"), .timeLimit(.minutes(2)))
struct ServerTests {
    static let sections = HostKinds.probe.map { HostSection(name: $0.name, script: $0.script) }

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
            ]
        )
        #expect(Set(answer.sections.keys).isSuperset(of: Self.sections.map(\.name)))
        #expect(answer.sections["kernel"]?.output.hasPrefix("Linux ") == true)
        #expect(answer.sections["both"] == CommandResult(status: 3, output: "out\n", errorOutput: "err\n"))
        #expect(answer.sections["broken"]?.status != 0)
        #expect(answer.sections["silent"] == CommandResult(status: 0, output: "", errorOutput: ""))
        #expect(answer.sections["no line feed"]?.output == "a\nb")
        #expect(answer.hostKeyFingerprint.hasPrefix("SHA256:"))
        await pool.close()
    }

    @Test func `A step's arguments and input are data`() async throws {
        let server = try TestServer()
        let pool = HostPool(options: server.options)
        let proof = server.scratch.file("proof")
        let arguments = [
            "$(touch \(proof))", "`touch \(proof)`", "'; touch \(proof); '", "\"", "-n", "", "a  b", "*", "\\n", "é\u{1F600}", "$SUDO", "EOF",
        ]
        let result = try await pool.run(server.login(), HostCommand(arguments: ["printf", "<%s>"] + arguments))
        #expect(result == CommandResult(status: 0, output: arguments.map { "<\($0)>" }.joined(), errorOutput: ""))
        #expect(!server.scratch.exists("proof"))

        let input = "$(touch \(proof))\n`x`\\\\ \\n %b 'q' \"\u{0}\t\r\u{85}é\u{1F600}\n\n\nno line feed"
        let back = try await pool.run(server.login(), HostCommand(arguments: ["cat"], input: input))
        #expect(back == CommandResult(status: 0, output: input, errorOutput: ""))
        await pool.close()
    }
}
