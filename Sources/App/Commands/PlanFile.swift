import ArgumentParser
import Foundation
import Glibc
import Planning
import Reporting

/// Plans in files: written by `plan --out`, compared by `apply`.
enum PlanFile {
    /// A source that ends like this is a plan.
    static func isNamed(_ source: String) -> Bool { source.hasSuffix(".json") }

    /// - Throws: exit status 1, after the reason was printed.
    static func write(_ plan: Plan, to path: String, terminal: Terminal) throws {
        // A key for each file: its digests of sensitive values fit no other file's, and no table of guesses made before.
        var random = SystemRandomNumberGenerator()
        let key = (0..<4).map { _ in String(random.next(), radix: 16) }.joined(separator: "-")
        do throws(WriteFailure) {
            try write(Array(plan.document(digestKey: key).prettyJSON.utf8), to: path)
        } catch {
            terminal.writeError("\(terminal.errors.errorWord): the plan can't be written to \(Escaping.shown(path)): \(error.reason)\n")
            terminal.writeError("    \(error.fix)\n")
            throw ExitCode(1)
        }
        let shown = Escaping.shown(shellWord(path))
        let hint =
            if plan.refusal != nil {
                "It is refused whole, and so is an apply of it."
            } else {
                plan.actions.isEmpty ? "It has nothing to apply." : "To carry it out: plumb apply \(shown)"
            }
        terminal.writeError("\nThe plan is in \(Escaping.shown(path)). \(hint)\n")
    }

    private struct WriteFailure: Error {
        var reason: String
        var fix: String
    }

    /// Written beside its name and moved there, so that a reader finds the whole plan or none, and nobody else can read it at any time.
    private static func write(_ bytes: [UInt8], to path: String) throws(WriteFailure) {
        var info = stat()
        if stat(path, &info) == 0, info.st_mode & S_IFMT != S_IFREG {
            throw WriteFailure(reason: "it is there and is no plain file", fix: "Give the name of a file that is new or may be replaced.")
        }
        let draft = "\(path).\(getpid()).new"
        func fail(_ number: Int32) -> WriteFailure {
            WriteFailure(reason: String(cString: strerror(number)), fix: "Give --out a name in a folder that you can write to.")
        }
        let descriptor = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw fail(errno) }
        var isWritten = false
        defer { if !isWritten { unlink(draft) } }
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else {
                let number = errno
                close(descriptor)
                throw fail(number)
            }
            rest = rest.dropFirst(count)
        }
        let isSynced = fsync(descriptor) == 0
        let number = errno
        close(descriptor)
        guard isSynced else { throw fail(number) }
        guard rename(draft, path) == 0 else { throw fail(errno) }
        isWritten = true
    }

    /// As a shell takes it for one word.
    private static func shellWord(_ text: String) -> String {
        let isPlain = text.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
            default: "/._-+:@%,=".utf8.contains(byte)
            }
        }
        return isPlain && !text.hasPrefix("-") ? text : "'\(text.replacing("'", with: "'\\''"))'"
    }

    /// - Throws: exit status 1, after the reason was printed.
    static func read(_ path: String, terminal: Terminal) throws -> SavedPlan {
        do throws(SavedPlan.Refusal) {
            return try SavedPlan(file: try contents(of: path))
        } catch {
            terminal.writeError("\(terminal.errors.errorWord): \(Escaping.shown(path)) \(Escaping.shown(error.reason))\n")
            terminal.writeError("    Nothing was contacted, nothing was changed.\n")
            throw ExitCode(1)
        }
    }

    private static func contents(of path: String) throws(SavedPlan.Refusal) -> [UInt8] {
        let limit = 256 << 20
        var info = stat()
        guard stat(path, &info) == 0 else { throw SavedPlan.Refusal(reason: "can't be read: \(String(cString: strerror(errno)))") }
        guard info.st_mode & S_IFMT == S_IFREG else { throw SavedPlan.Refusal(reason: "is no plain file, so no plan of Plumb") }
        guard info.st_size <= limit else { throw SavedPlan.Refusal(reason: "has more than \(limit) bytes, so it is no plan of Plumb") }
        guard let handle = FileHandle(forReadingAtPath: path) else {
            throw SavedPlan.Refusal(reason: "can't be read: \(String(cString: strerror(errno)))")
        }
        defer { try? handle.close() }
        guard let data = try? handle.read(upToCount: limit + 1) ?? Data() else { throw SavedPlan.Refusal(reason: "can't be read") }
        guard data.count <= limit else { throw SavedPlan.Refusal(reason: "has more than \(limit) bytes, so it is no plan of Plumb") }
        return Array(data)
    }
}
