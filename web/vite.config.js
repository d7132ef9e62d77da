import { defineConfig } from "vite";

// `npm run dev` shows changes at once; it takes the API from a running scheduler, by default that of `make demo`.
const admin = process.env.WEIR_ADMIN ?? "http://127.0.0.1:8081";

export default defineConfig({
  base: "./",
  build: { target: "es2022", chunkSizeWarningLimit: 700, sourcemap: false },
  server: { proxy: { "/api": { target: admin } } }, // the Host stays as the browser wrote it, or orders are refused as foreign
});
