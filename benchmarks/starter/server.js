// The API as a server of its own, as `npm start` of a starter does.
import { app } from "./app.js";

app.listen(Number(process.env.PORT), "127.0.0.1");
