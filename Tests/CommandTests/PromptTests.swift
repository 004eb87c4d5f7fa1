import Foundation
import Glibc
import Testing

extension LabTests {
    /// What happens at a real terminal: the question, and what each answer does.
    @Suite struct PromptTests {
        @Test(arguments: [("yes\n", 0), ("no\n", 1), ("y\n", 1), ("\u{4}", 1)] as [(String, Int32)])
        func onlyYesGoesAhead(answer: String, status: Int32) async throws {
            let lab = try Lab()
            try await lab.withHost("asked", drift: true) {
                try await lab.withSpecs(["specs.yaml": Lab.hosts(["asked"]) + Lab.promiscuous]) { source in
                    let (ended, screen) = try await atTerminal(lab.commandLine(["apply", source]), answer: answer, after: "goes ahead: ")
                    #expect(ended == status, "\(screen)")
                    #expect(screen.contains("\u{1B}[1m"), "a terminal gets colours")
                    #expect(screen.contains("Apply this change?"))
                    #expect(screen.contains("observing: 0 of 1"))
                    let flags = try await lab.lab("exec", "asked", "ip", "-j", "link", "show", "wlan0")
                    #expect(flags.output.contains("PROMISC") == (status == 0))
                }
            }
        }

        @Test func noColourIsHonoured() async throws {
            let lab = try Lab()
            try await lab.withHost("plain", drift: true) {
                try await lab.withSpecs(["specs.yaml": Lab.hosts(["plain"]) + Lab.promiscuous]) { source in
                    for command in [lab.commandLine(["plan", source, "--no-color"]), ["env", "NO_COLOR=1"] + lab.commandLine(["plan", source])] {
                        let (ended, screen) = try await atTerminal(command, answer: "", after: "")
                        #expect(ended == 0)
                        #expect(!screen.contains("\u{1B}[1m") && screen.contains("flags.promiscuous: false → true"))
                    }
                }
            }
        }

        /// Runs a command at a pseudo-terminal, types `answer` once `prompt` is on the screen, and returns all that was on it.
        private func atTerminal(_ command: [String], answer: String, after prompt: String) async throws -> (status: Int32, screen: String) {
            // `script` gives it a terminal and passes on what comes from a pipe, so this side needs no terminal of its own.
            let folder = FileManager.default.temporaryDirectory.appendingPathComponent("plumb-terminal-\(UUID().uuidString)")
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            defer { try? FileManager.default.removeItem(at: folder) }
            let screen = folder.appendingPathComponent("screen").path
            let input = folder.appendingPathComponent("input").path
            #expect(mkfifo(input, 0o600) == 0)
            let line = command.map { "'\($0)'" }.joined(separator: " ")
            // Waits for the prompt by looking at the screen, then types.
            let shell = """
                : >"$2"
                (
                    exec 3>"$1"
                    for i in $(seq 600); do
                        if grep -qF "$4" "$2"; then break; fi
                        sleep 0.05
                    done
                    printf '%s' "$5" >&3
                    while [ ! -e "$2.done" ]; do sleep 0.05; done
                ) &
                env -u NO_COLOR TERM=xterm script --quiet --flush --return --command "$3" "$2" <"$1" >/dev/null
                status=$?
                : >"$2.done"
                wait
                exit $status
                """
            let outcome = try await run(["sh", "-c", shell, "sh", input, screen, line, prompt, answer])
            return (outcome.status, (try? String(contentsOfFile: screen, encoding: .utf8)) ?? "")
        }
    }
}
