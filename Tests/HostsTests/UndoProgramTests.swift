import Dispatch
import Foundation
import Synchronization
import Testing

@testable import Hosts

/// What runs on hosts, under the shells that hosts have.
@Suite(.timeLimit(.minutes(2))) struct UndoProgramTests {
    static let shells = ["dash", "bash", "bash --posix", "busybox sh"].filter { shell in
        let name = String(shell.prefix { $0 != " " })
        return ["/bin", "/usr/bin"].contains { FileManager.default.isExecutableFile(atPath: "\($0)/\(name)") }
    }

    private struct Place {
        let scratch: Scratch
        let shell: [String]
        var program: UndoProgram

        init(_ shell: String) throws {
            scratch = try Scratch()
            self.shell = shell.split(separator: " ").map(String.init)
            program = UndoProgram(folder: scratch.file("run/undo"), longestChange: 1, pause: 0)
        }

        func ask(_ call: String, payload: [String] = []) throws -> String {
            try run(program.request(call, payload: payload, delimiter: ShellScript.separator()))
        }

        /// With three descriptors, as a command over SSH has them; Foundation hands down more, which what is armed would hold open.
        func run(_ request: String) throws -> String {
            let close = #"for fd in /proc/self/fd/*; do fd=${fd##*/}; [ "$fd" -le 2 ] || eval "exec $fd>&-"; done; exec "$@""#
            return try Programs.run(["bash", "-c", close, "bash"] + shell + ["-s", "plumb-undo"], input: request)
        }

        /// Appends to the file `log`.
        func write(_ word: String, then script: String = ":") -> HostCommand {
            HostCommand(arguments: ["sh", "-c", "echo \"$1\" >>\"$2\"; \(script)", "sh", word, scratch.file("log")])
        }

        func arm(_ seconds: Int, change: [HostCommand], undo: [HostCommand]) throws -> String {
            let answer = try ask("arm abc \(seconds)", payload: UndoProgram.payload(change: change, undo: undo, about: "it's\n$(us)"))
            #expect(answer.hasPrefix("armed "), "\(answer)")
            return answer.split(separator: " ").last.map { $0.trimmingCharacters(in: .newlines) } ?? ""
        }

        /// As the timer does when the time is over.
        func fire(_ undo: String) throws {
            try Programs.run(shell + [scratch.file("run/undo/\(undo)/program"), "fire", undo])
        }

        var log: [String] { ((try? scratch.read("log")) ?? "").split(separator: "\n").map(String.init) }

        /// Until nothing of it is there: no folder, no process.
        func expectNothingLeft(within seconds: Int) throws {
            for _ in 0..<(seconds * 20) {
                let processes = (try? Programs.run(["pgrep", "-f", scratch.path])) ?? ""
                if processes.isEmpty, !scratch.exists("run/undo") { return }
                usleep(50_000)
            }
            Issue.record("left: \((try? Programs.run(["sh", "-c", "find \(scratch.path); pgrep -af \(scratch.path)"])) ?? "")")
        }
    }

    @Test func `There are shells to try`() { #expect(Self.shells.count >= 3) }

    @Test(arguments: shells) func `Confirmed: it stays`(shell: String) throws {
        let place = try Place(shell)
        let undo = try place.arm(30, change: [place.write("changed")], undo: [place.write("undone")])
        #expect(try Programs.run(["stat", "-c", "%a %U", place.scratch.file("run/undo/\(undo)")]) == "700 root\n")
        #expect(try place.ask("about \(undo)") == "it's\n$(us)")
        #expect(try place.ask("change \(undo)") == "changed\n")
        #expect(try place.ask("confirm \(undo)") == "confirmed\n")
        #expect(try place.ask("confirm \(undo)") == "over\n")
        try place.expectNothingLeft(within: 3)
        #expect(place.log == ["changed"])
    }

    @Test(arguments: shells) func `Not confirmed: it is undone, in order, and what comes late is not done`(shell: String) throws {
        let place = try Place(shell)
        let undo = try place.arm(2, change: [place.write("a"), place.write("b")], undo: [place.write("-b"), place.write("-a")])
        #expect(try place.ask("change \(undo)") == "changed\n")
        try place.expectNothingLeft(within: 6)
        #expect(place.log == ["a", "b", "-b", "-a"])
        #expect(try place.ask("change \(undo)") == "over\n")
        #expect(try place.ask("confirm \(undo)") == "over\n")
        #expect(try place.ask("revert \(undo)") == "over\n")
        #expect(place.log.count == 4)
    }

    @Test(arguments: shells) func `Arguments and input are data`(shell: String) throws {
        let place = try Place(shell)
        let proof = place.scratch.file("proof")
        let arguments = [
            "$(touch \(proof))", "`touch \(proof)`", "'; touch \(proof); '", "\"", "-n", "", " a  b ", "*", "\\n\\", "é\u{1F600}\u{81}", "end",
            "step x",
        ]
        let input = "$(touch \(proof))\n`x`\\\\ \\n %b 'q' \"\u{0}\t\r\u{85}é\u{1F600}\n\nend\n\nno line feed"
        let out = place.scratch.file("out")
        let back = place.scratch.file("back")
        let undo = try place.arm(
            30,
            change: [HostCommand(arguments: ["sh", "-c", "{ printf '<%s>' \"$@\"; } >\(out)", "sh"] + arguments)],
            undo: [HostCommand(arguments: ["tee", back], input: input)]
        )
        #expect(try place.ask("change \(undo)") == "changed\n")
        #expect(try place.scratch.read("out") == arguments.map { "<\($0)>" }.joined())
        #expect(try place.ask("revert \(undo)") == "undone\n")
        #expect(try Data(contentsOf: URL(fileURLWithPath: back)) == Data(input.utf8))
        #expect(!place.scratch.exists("proof"))
        try place.expectNothingLeft(within: 3)
    }

    @Test(arguments: shells) func `One at a time`(shell: String) throws {
        let place = try Place(shell)
        let undo = try place.arm(30, change: [place.write("a")], undo: [place.write("-a")])
        let payload = UndoProgram.payload(change: [place.write("b")], undo: [place.write("-b")], about: "")
        #expect(try place.ask("arm def 30", payload: payload) == "busy \(undo)\n")
        #expect(try place.ask("confirm \(undo)") == "confirmed\n")
        try place.expectNothingLeft(within: 3)
        #expect(place.log.isEmpty)
    }

    @Test(arguments: shells) func `A step that fails ends the change`(shell: String) throws {
        let place = try Place(shell)
        let undo = try place.arm(30, change: [place.write("a"), place.write("b", then: "exit 7"), place.write("c")], undo: [place.write("-")])
        #expect(try place.ask("change \(undo)") == "failed 2 7\n")
        #expect(try place.ask("revert \(undo)") == "undone\n")
        #expect(place.log == ["a", "b", "-"])
        try place.expectNothingLeft(within: 3)
    }

    @Test(arguments: shells) func `An undo that fails is tried again, and told where it never works`(shell: String) throws {
        let place = try Place(shell)
        let twice = place.write("-", then: "[ \"$(wc -l <\"$2\")\" -ge 2 ]")
        #expect(try place.ask("revert \(place.arm(30, change: [], undo: [twice]))") == "undone\n")
        #expect(place.log == ["-", "-"])
        let never = place.write("x", then: "echo no way >&2; exit 1")
        #expect(try place.ask("settle \(place.arm(30, change: [], undo: [never]))").hasPrefix("broken\n"))
        try place.expectNothingLeft(within: 3)
    }

    @Test(arguments: shells) func `A change that hangs does not keep the host from undoing it`(shell: String) throws {
        let place = try Place(shell)
        // It ends only once it has been undone, and its time is over when it is under way: how fast the machine is plays no part.
        let hangs = #"until grep -qx -- -a "$2"; do sleep 0.1; done"#
        let undo = try place.arm(3600, change: [place.write("a", then: hangs)], undo: [place.write("-a")])
        let answer = Mutex("")
        let isDone = DispatchGroup()
        DispatchQueue.global().async(group: isDone) {
            let text = (try? place.ask("change \(undo)")) ?? "no answer"
            answer.withLock { $0 = text }
        }
        for _ in 0..<1200 where place.log.isEmpty { usleep(50_000) }
        try place.fire(undo)
        #expect(isDone.wait(timeout: .now() + 60) == .success)
        #expect(answer.withLock { $0 } == "over\n")
        #expect(place.log == ["a", "-a"])
        try place.expectNothingLeft(within: 60)
    }

    /// The time is over just when the change ends: it is undone, never forgotten.
    @Test(arguments: shells) func `A change that ends when its time does is undone`(shell: String) throws {
        for _ in 0..<5 {
            let place = try Place(shell)
            let undo = try place.arm(3600, change: [place.write("a")], undo: [place.write("-a")])
            let isDone = DispatchGroup()
            DispatchQueue.global().async(group: isDone) { _ = try? place.ask("change \(undo)") }
            for _ in 0..<1200 where !place.scratch.exists("run/undo/\(undo)/changing") && place.log.isEmpty { usleep(500) }
            try place.fire(undo)
            #expect(isDone.wait(timeout: .now() + 60) == .success)
            #expect(place.log == ["a", "-a"])
            try place.expectNothingLeft(within: 60)
        }
    }

    /// The confirmation and the undo, again and again at the same moment.
    @Test(arguments: shells) func `Never both and never neither`(shell: String) throws {
        for _ in 0..<25 {
            let place = try Place(shell)
            let undo = try place.arm(60, change: [], undo: [place.write("-")])
            let answers = Mutex(["", ""])
            DispatchQueue.concurrentPerform(iterations: 2) { index in
                let answer = (try? place.ask("\(["confirm", "revert"][index]) \(undo)")) ?? "no answer"
                answers.withLock { $0[index] = answer }
            }
            let both = answers.withLock { $0 }
            #expect([["confirmed\n", "over\n"], ["over\n", "undone\n"]].contains(both), "\(both)")
            #expect(place.log == (both[1] == "undone\n" ? ["-"] : []))
            #expect(!place.scratch.exists("run/undo"))
        }
    }

    /// Not real systemd: what is asked of it, and that what it would run does its work.
    @Test(arguments: shells) func `Where systemd runs it gets the timer`(shell: String) throws {
        guard !FileManager.default.fileExists(atPath: "/run/systemd/system") else { return }
        let place = try Place(shell)
        let asked = place.scratch.file("asked")
        // The search path is the program's own, so the stand-ins go in front of it, and the folder that tells of systemd is one of ours.
        let text = place.program.text.replacing("/run/systemd/system", with: place.scratch.path)
            .replacing("PATH=", with: "PATH=\(place.scratch.file("bin")):")
        try FileManager.default.createDirectory(atPath: place.scratch.file("bin"), withIntermediateDirectories: true)
        for name in ["systemd-run", "systemctl"] {
            try place.scratch.write("#!/bin/sh\necho \"\(name) $*\" >>\(asked)\n", to: "bin/\(name)", mode: 0o755)
        }
        func ask(_ call: String, payload: [String] = []) throws -> String {
            let request = place.program.request(call, payload: payload, delimiter: "delimiter").replacing(place.program.text, with: text)
            return try place.run(request)
        }
        let payload = UndoProgram.payload(change: [place.write("a")], undo: [place.write("-a")], about: "")
        let undo = try ask("arm abc 34", payload: payload).split(separator: " ").last?.trimmingCharacters(in: .newlines) ?? ""
        let folder = place.scratch.file("run/undo/\(undo)")
        #expect(
            try place.scratch.read("asked") == "systemd-run --quiet --unit=plumb-undo-\(undo) --on-active=34 --timer-property=AccuracySec=100ms "
                + "/bin/sh \(folder)/program fire \(undo)\n"
        )
        #expect(try ask("change \(undo)") == "changed\n")
        try Programs.run(["/bin/sh", "\(folder)/program", "fire", undo])
        #expect(place.log == ["a", "-a"])
        try place.expectNothingLeft(within: 1)

        let second = try ask("arm def 34", payload: payload).split(separator: " ").last?.trimmingCharacters(in: .newlines) ?? ""
        #expect(try ask("confirm \(second)") == "confirmed\n")
        #expect(try place.scratch.read("asked").hasSuffix("systemctl stop plumb-undo-\(second).timer\n"))

        try place.scratch.write("#!/bin/sh\necho 'no bus' >&2; exit 1\n", to: "bin/systemd-run", mode: 0o755)
        #expect(try ask("arm abd 34", payload: payload) == "refused systemd-run does not start a timer: no bus\n")
        try place.expectNothingLeft(within: 1)
    }
}
