extension HostPool {
    /// Removes the folders that armed undos were in, where they are empty. They would be gone after a boot anyway, so it does not matter whether
    /// we may.
    package func removeEmptyFolders(_ login: HostLogin) async {
        let folder = UndoProgram().folder
        let parent = folder.split(separator: "/").dropLast().joined(separator: "/")
        let script = #"rmdir "$1" "$2" 2>/dev/null || :"#
        _ = try? await run(login, HostCommand(arguments: ["sh", "-c", script, "sh", folder, "/\(parent)"]))
    }
}
